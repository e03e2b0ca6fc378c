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
    let late = |_| SchemaError::over("seconds", usize::try_from(bounds.time.as_secs()).unwrap_or(usize::MAX));
    let collection = timeout(bounds.time, gather(server, bounds)).await.map_err(late)??;
    // Linking is work, and others are on this thread. Should it ever panic over what a stranger sent, that ends here too.
    let linked = tokio::task::spawn_blocking(|| collection.finish()).await;
    let schema = linked.map_err(|_| SchemaError::Malformed("the descriptors cannot be linked".into()))??;
    if schema.services().next().is_none() {
        let why = schema.problems().first().cloned().unwrap_or_else(|| "it lists none".to_owned());
        return Err(SchemaError::Unavailable(format!("it describes no service: {why}")));
    }
    Ok(schema)
}

async fn gather(server: &mut impl Reflection, bounds: Bounds) -> Result<Collection, SchemaError> {
    let services = match server.ask(Question::Services).await? {
        Answer::Services(services) => services,
        Answer::Unknown(why) => return Err(SchemaError::Unavailable(format!("it lists no services: {why}"))),
        Answer::Files(_) => return Err(SchemaError::Malformed("asked for services, it answers with files".into())),
    };
    if services.len() > bounds.services {
        return Err(SchemaError::over("services", bounds.services));
    }
    let mut collection = Collection::new(bounds);
    for service in services {
        if !collection.defines_service(&service) {
            ask(server, &mut collection, Question::Symbol(service.clone())).await?;
        }
        if !collection.defines_service(&service) {
            collection.note(format!("{service} is listed, and the server has no file that defines it"));
        }
    }
    // What is imported, then what is named and still not there: imports are often written otherwise than files are registered.
    let mut asked = BTreeSet::new();
    loop {
        let mut open: Vec<_> = collection.missing().into_iter().filter(|name| !asked.contains(name)).collect();
        let by_file = !open.is_empty();
        if !by_file {
            open = collection.undefined().into_iter().filter(|name| !asked.contains(name)).collect();
        }
        if open.is_empty() {
            return Ok(collection);
        }
        for name in open {
            if asked.len() >= bounds.files {
                return Err(SchemaError::over("questions", bounds.files));
            }
            asked.insert(name.clone());
            let question = if by_file { Question::File(name) } else { Question::Symbol(name) };
            ask(server, &mut collection, question).await?;
        }
    }
}

/// Asks for files. One that the server does not know is missing, and the others are not worse for it.
async fn ask(server: &mut impl Reflection, collection: &mut Collection, question: Question) -> Result<(), SchemaError> {
    match server.ask(question).await? {
        Answer::Files(files) => files.iter().try_for_each(|file| collection.add(file)),
        Answer::Unknown(_) => Ok(()),
        Answer::Services(_) => Err(SchemaError::Malformed("asked for a file, it answers with services".into())),
    }
}
