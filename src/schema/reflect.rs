//! A schema by server reflection: which questions to ask, one after the other, and what to make of the answers. All of them go to
//! one server over one stream, as versions differ between instances.

use std::collections::BTreeSet;
use std::future::Future;

use bytes::Bytes;
use tokio::time::timeout;

use super::bounds::{Bounds, SchemaError};
use super::collection::Collection;
use super::set::Schema;

/// One question of `grpc.reflection`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The full names of all services.
    Services,
    /// The file that defines a service or a type.
    Symbol(String),
    /// A file by its name.
    File(String),
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Names of services.
    Services(Vec<String>),
    /// Encoded files; servers may send those along that they import.
    Files(Vec<Bytes>),
    /// It does not know it, and says so.
    Unknown(String),
}

/// A stream to a server's reflection.
pub trait Reflection: Send {
    /// Asks. An error ends all: it is the stream's.
    fn ask(&mut self, question: Question) -> impl Future<Output = Result<Answer, SchemaError>> + Send;
}

/// Everything that a server tells of its services.
///
/// # Errors
/// It tells nothing usable, or more than is taken, or takes too long.
pub async fn fetch(server: &mut impl Reflection, bounds: Bounds) -> Result<Schema, SchemaError> {
    link(gather(server, bounds).await?).await
}

/// The files of all services of a server, not looked at any closer: [`link`] makes a schema of them.
///
/// # Errors
/// As [`fetch`].
pub async fn gather(server: &mut impl Reflection, bounds: Bounds) -> Result<Collection, SchemaError> {
    let late = |_| SchemaError::over("seconds", usize::try_from(bounds.time.as_secs()).unwrap_or(usize::MAX));
    timeout(bounds.time, ask_for_all(server, bounds)).await.map_err(late)?
}

/// Makes a schema of what was gathered. Linking is work, and is done on a thread where nobody waits for it.
///
/// # Errors
/// It goes together with nothing, or has no service.
pub async fn link(collection: Collection) -> Result<Schema, SchemaError> {
    // Should it ever panic over what a stranger sent, that ends here too.
    let schema = beside(|| collection.finish()).await.ok_or_else(broken)??;
    if schema.services().next().is_none() {
        let why = schema.problems().first().cloned().unwrap_or_else(|| "it lists none".to_owned());
        return Err(SchemaError::Unavailable(format!("it describes no service: {why}")));
    }
    Ok(schema)
}

async fn ask_for_all(server: &mut impl Reflection, bounds: Bounds) -> Result<Collection, SchemaError> {
    let mut services = match server.ask(Question::Services).await? {
        Answer::Services(services) => services,
        Answer::Unknown(why) => return Err(SchemaError::Unavailable(format!("it lists no services: {why}"))),
        Answer::Files(_) => return Err(SchemaError::Malformed("asked for services, it answers with files".into())),
    };
    if services.len() > bounds.services {
        return Err(SchemaError::over("services", bounds.services));
    }
    // What is wrong is said in the same order each time.
    services.sort();
    let mut collection = Collection::new(bounds);
    for service in services {
        if !collection.defines_service(&service) {
            collection = ask(server, collection, Question::Symbol(service.clone())).await?;
        }
        if !collection.defines_service(&service) {
            collection.note(format!("{service} is listed, and the server has no file that defines it"));
        }
    }
    // What is imported, then what is named and still not there: imports are often written otherwise than files are registered.
    let mut asked = BTreeSet::new();
    loop {
        let (back, by_file, open, were) = at_leisure(collection, move |collection| {
            let mut open: Vec<_> = collection.missing().into_iter().filter(|name| !asked.contains(name)).collect();
            let by_file = !open.is_empty();
            if !by_file {
                open = collection.undefined().into_iter().filter(|name| !asked.contains(name)).collect();
            }
            (collection, by_file, open, asked)
        })
        .await?;
        (collection, asked) = (back, were);
        if open.is_empty() {
            return Ok(collection);
        }
        for name in open {
            if asked.len() >= bounds.files {
                return Err(SchemaError::over("questions", bounds.files));
            }
            asked.insert(name.clone());
            let question = if by_file { Question::File(name) } else { Question::Symbol(name) };
            collection = ask(server, collection, question).await?;
        }
    }
}

/// Asks for files. One that the server does not know is missing, and the others are not worse for it.
async fn ask(
    server: &mut impl Reflection,
    mut collection: Collection,
    question: Question,
) -> Result<Collection, SchemaError> {
    match server.ask(question).await? {
        Answer::Files(files) => {
            let octets: usize = files.iter().map(Bytes::len).sum();
            let add = move |mut collection: Collection| {
                files.iter().try_for_each(|file| collection.add(file)).map(|()| collection)
            };
            collection = if octets > AT_ONCE { at_leisure(collection, add).await?? } else { add(collection)? };
            Ok(collection)
        }
        Answer::Unknown(_) => Ok(collection),
        Answer::Services(_) => Err(SchemaError::Malformed("asked for a file, it answers with services".into())),
    }
}

/// Octets of descriptors that are looked through at once: a millisecond's work. More is done where nobody waits.
const AT_ONCE: usize = 64 << 10;

/// Does what takes the longer the larger the collection is.
async fn at_leisure<T: Send + 'static>(
    collection: Collection,
    work: impl FnOnce(Collection) -> T + Send + 'static,
) -> Result<T, SchemaError> {
    if collection.came() <= AT_ONCE {
        return Ok(work(collection));
    }
    beside(|| work(collection)).await.ok_or_else(broken)
}

/// Nothing, if the work panicked.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

fn broken() -> SchemaError {
    SchemaError::Malformed("the descriptors cannot be linked".into())
}
