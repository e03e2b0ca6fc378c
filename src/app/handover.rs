//! The new binary takes the place of this one while calls go on (SIGUSR2): it is given the sockets, builds everything, and says so; then
//! this process lets go of the state, and when the new one listens, ends as at a SIGTERM. Until then nothing of it is final.

mod inherited;
mod line;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

pub use self::inherited::Inherited;
use self::line::Line;
use super::reload::Running;
use super::{Proxy, audit};
use crate::registry::Registry;
use crate::store::{File, Store};

/// Tells a process that it takes the place of the one that started it.
const SUCCEEDS: &str = "PORTUNUS_SUCCEEDS";
/// What is said.
const SOCKET: &str = "socket ";
const ALL: &str = "all";
const READY: &str = "ready";
const GO: &str = "go";
const END: &str = "end";
const LISTENING: &str = "listening";

/// How long the new process may take to build its configuration, and then to open the state and listen.
const BUILDING: Duration = Duration::from_secs(60);
const OPENING: Duration = Duration::from_secs(30);
/// How long those who register have to hear our goodbye, and to finish what they have begun.
pub(super) const DISMISSAL: Duration = Duration::from_millis(300);
/// How long the state is tried to be had again from a process that has failed.
const RETURN: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(20);

/// What is started in the place of this process: the same once more, from a file that may be another by now.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// That of this process. To be called at its start: later its file may have been replaced.
    ///
    /// # Errors
    /// The system does not say which that is.
    pub fn current() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let (called, file) = (arguments.next().map(PathBuf::from), std::env::current_exe()?);
        Ok(Self {
            path: called.and_then(|called| named(&called, &file)).unwrap_or(file),
            arguments: arguments.collect(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn launch(&self, line: std::os::fd::OwnedFd) -> io::Result<Child> {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).env(SUCCEEDS, "1").stdin(Stdio::from(line));
        for given in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(given);
        }
        command.spawn()
    }
}

/// The path by which a program was called, if it leads to its file: through a link that may lead elsewhere by now, where the file itself
/// stays what it is.
fn named(called: &Path, file: &Path) -> Option<PathBuf> {
    let leads = |path: &PathBuf| path.canonicalize().is_ok_and(|found| found == file);
    if called.components().count() > 1 {
        return std::path::absolute(called).ok().filter(leads);
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(called)).find(leads)
}

/// The new process, and the line to it. It ends where it does not take the place.
struct Heir {
    child: Child,
    line: Arc<Line>,
    succeeds: bool,
}

impl Heir {
    /// What it says within this time.
    fn hear(&mut self, wanted: &str, patience: Duration) -> Result<(), String> {
        match self.line.hear(patience) {
            Ok((text, _)) if text == wanted => Ok(()),
            Ok((text, _)) => Err(format!("the new process says `{text}`: is it another version?")),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(format!("the new process was not `{wanted}` within {} s", patience.as_secs()))
            }
            Err(_) => Err(match self.child.wait() {
                Ok(status) => format!("the new process ended ({status}): it has said why"),
                Err(error) => format!("the new process is lost: {error}"),
            }),
        }
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        if !self.succeeds {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// The line to the process that is to take our place, while there is one.
#[derive(Debug, Default)]
pub(super) struct Succession(Mutex<Option<Arc<Line>>>);

impl Succession {
    fn begin(&self, line: &Arc<Line>) {
        *self.0.lock() = Some(Arc::clone(line));
    }

    /// Has it end: there is no place to take. Without this word it would take our end for an accident, and go on in our place.
    pub(super) fn call_off(&self) {
        if let Some(line) = self.0.lock().take() {
            line.say(END, None).ok();
        }
    }
}

/// Does what blocks.
async fn aside<T: Send + 'static>(what: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(what).await.unwrap_or_else(|error| Err(error.to_string()))
}

impl Proxy {
    /// Has another process take the place of this one, which is then to be drained. Answers its number.
    ///
    /// # Errors
    /// It cannot: everything goes on here as it was.
    pub async fn hand_over(&self, program: &Program) -> Result<u32, String> {
        // No reload meanwhile.
        let mut running = self.running.lock().await;
        let heir = self.prepare_heir(program.clone()).await?;
        let pid = heir.child.id();
        self.let_go(&mut running).await;
        let listening = aside(move || {
            let mut heir = heir;
            heir.line.say(GO, None).map_err(|error| format!("the new process is gone: {error}"))?;
            heir.hear(LISTENING, OPENING)?;
            heir.succeeds = true;
            Ok(())
        });
        match listening.await {
            Ok(()) => {
                // The admin port is the new one's.
                self.ending.handed.send_replace(true);
                Ok(pid)
            }
            Err(why) => {
                self.take_back(&mut running).await;
                Err(why)
            }
        }
    }

    /// Starts the new process and gives it the sockets; it is ready but for the state then.
    async fn prepare_heir(&self, program: Program) -> Result<Heir, String> {
        let sockets = self.listening.lock().sockets();
        let desks = self.desks.try_clone().map_err(|error| error.to_string())?;
        let ending = Arc::clone(&self.ending);
        aside(move || {
            let text = |error: io::Error| format!("{} cannot be started: {error}", program.path.display());
            let (line, theirs) = Line::pair().map_err(text)?;
            let line = Arc::new(line);
            ending.succession.begin(&line);
            // Who is told to end from now on calls it off.
            if ending.is_leaving() {
                return Err("this process ends".to_owned());
            }
            let child = program.launch(theirs).map_err(text)?;
            let mut heir = Heir { child, line, succeeds: false };
            // That it is gone shows below, with the reason.
            let give = |name: &str, asked: SocketAddr, socket| {
                heir.line.say(&format!("{SOCKET}{asked} {name}"), Some(socket)).ok();
            };
            desks.sockets().for_each(|(name, asked, socket)| give(name, asked, socket));
            sockets.iter().for_each(|(name, asked, socket)| give(name, *asked, socket.as_fd()));
            heir.line.say(ALL, None).ok();
            heir.hear(READY, BUILDING)?;
            Ok(heir)
        })
        .await
    }

    /// Lets go of what only one process can have. Connections of those who register wait in the sockets' queues from now on.
    async fn let_go(&self, running: &mut Running) {
        self.listening.lock().pause(&self.shared.in_force.load().snapshot);
        if running.store.is_some() {
            self.workers.dismiss_registrars();
            sleep(DISMISSAL).await;
        }
        release(running).await;
        let snapshot = Arc::clone(&self.shared.in_force.load().snapshot);
        let moved = tokio::task::spawn_blocking(move || audit::move_aside(&snapshot)).await;
        for error in moved.unwrap_or_default() {
            tracing::error!(error, "an audit file cannot be moved aside for the new process");
        }
    }

    /// Goes on with what was let go of.
    async fn take_back(&self, running: &mut Running) {
        for error in self.reopen_audit().await {
            tracing::error!(error, "an audit file cannot go on in a new one; it goes on in the one it has");
        }
        let registries = running.standings.registries();
        if let Some(folder) = running.folder.clone() {
            match keep_again(folder, registries.clone()).await {
                Ok(store) => running.store = Some(Arc::new(store)),
                Err(error) => {
                    tracing::error!(error, "the state cannot be had again: registrations are refused until a restart");
                    self.workers.go_on();
                    self.listening.lock().resume();
                    return;
                }
            }
        }
        registries.iter().for_each(|registry| registry.hand_over(false));
        self.workers.go_on();
        self.listening.lock().resume();
    }
}

/// Writes what is left of the state, and lets another process have it. Nobody registers here any more; heartbeats are answered from memory.
pub(super) async fn release(running: &mut Running) {
    let Some(store) = running.store.take() else { return };
    running.standings.registries().iter().for_each(|registry| registry.hand_over(true));
    // Waits for the writer's thread, so not on the runtime's own.
    drop(tokio::task::spawn_blocking(move || drop(store)).await);
}

/// Keeps registries again, once a process that has just ended has let go of the state.
async fn keep_again(folder: PathBuf, registries: Vec<Arc<Registry>>) -> Result<Store, String> {
    let until = Instant::now() + RETURN;
    let file = loop {
        let folder = folder.clone();
        let opened = aside(move || File::open(&folder, false).map_err(|error| error.to_string())).await;
        if opened.is_ok() || Instant::now() >= until {
            break opened?;
        }
        sleep(AGAIN).await;
    };
    Store::begin(file, registries).map_err(|error| error.to_string())
}
