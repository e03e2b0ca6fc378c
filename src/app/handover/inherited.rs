//! Sockets that this process was given at its start, instead of binding them: by the process whose place it takes, or by whoever listens
//! for it (systemd's socket activation).

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::super::StartError;
use super::line::Line;
use super::{ALL, END, GO, LISTENING, READY, SOCKET, SUCCEEDS};

/// How long the old process may take to send what it has.
const SENDING: Duration = Duration::from_secs(10);
/// How long it may take to let go of the state, once it has heard that we are ready.
const LETTING_GO: Duration = Duration::from_secs(60);

/// What was given.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Mutex<Vec<Given>>,
    line: Option<Arc<Line>>,
}

/// A socket.
#[derive(Debug)]
struct Given {
    /// Who had it; none if that is not known.
    name: Option<String>,
    /// The address in the file by which it was bound: port 0 is any.
    asked: SocketAddr,
    socket: StdListener,
}

impl Inherited {
    /// What the process gives whose place this one takes; nothing where it takes nobody's.
    ///
    /// # Errors
    /// It should, and does not.
    pub fn receive() -> Result<Self, String> {
        if std::env::var_os(SUCCEEDS).is_none() {
            return Ok(Self::default());
        }
        let failed = |error: std::io::Error| format!("{SUCCEEDS} is set, and nobody hands over: {error}");
        let line = Line::given().map_err(failed)?;
        let mut sockets = Vec::new();
        loop {
            let (text, socket) = line.hear(SENDING).map_err(failed)?;
            match (text.strip_prefix(SOCKET), socket) {
                (Some(told), Some(socket)) => sockets.extend(Given::told(told, socket)),
                _ if text == ALL => break,
                _ if text == END => return Err("the process before this one ends".to_owned()),
                _ => return Err(format!("the process before this one says `{text}`: is it another version?")),
            }
        }
        Ok(Self { sockets: Mutex::new(sockets), line: Some(Arc::new(line)) })
    }

    /// More sockets, by their addresses.
    pub fn add(&self, more: impl IntoIterator<Item = StdListener>) {
        let given = more.into_iter().filter_map(|socket| {
            let asked = socket.local_addr().ok()?;
            Some(Given { name: None, asked, socket })
        });
        self.sockets.lock().extend(given);
    }

    /// One for whoever wants to listen there.
    pub(in crate::app) fn take(&self, name: &str, asked: SocketAddr) -> Option<StdListener> {
        let mut sockets = self.sockets.lock();
        let own = |given: &Given| given.asked == asked && given.name.as_deref() == Some(name);
        // Of port 0 each has its own.
        let others = |given: &Given| given.asked == asked && asked.port() != 0;
        let at = sockets.iter().position(own).or_else(|| sockets.iter().position(others))?;
        Some(sockets.swap_remove(at).socket)
    }

    /// Closes what nobody wanted.
    pub(in crate::app) fn close_rest(&self) {
        for Given { asked, .. } in self.sockets.lock().drain(..) {
            tracing::warn!(address = %asked, "a socket was given for which the configuration has no listener: it is closed");
        }
    }

    /// Whether another process is to let go of its place first.
    pub(in crate::app) fn is_heir(&self) -> bool {
        self.line.is_some()
    }

    /// Says that everything is ready but what the old process still has, and waits until it has let go.
    pub(in crate::app) async fn await_turn(&self) -> Result<(), StartError> {
        let Some(line) = self.line.clone() else { return Ok(()) };
        let heard = tokio::task::spawn_blocking(move || {
            // One that is gone may have said why before.
            line.say(READY, None).ok();
            line.hear(LETTING_GO)
        });
        match heard.await.map_err(|error| StartError::System(error.to_string()))? {
            Ok((text, _)) if text == GO => Ok(()),
            Ok((text, _)) if text == END => Err(StartError::Told),
            Ok((text, _)) => Err(StartError::System(format!("the process before this one says `{text}`"))),
            // One that ends as it should says so, and one that goes on without us ends us: what it had is nobody's now.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                tracing::warn!("the process before this one has died while it handed over: this one takes its place");
                Ok(())
            }
            Err(error) => Err(StartError::System(format!("the process before this one does not let go: {error}"))),
        }
    }

    /// Says that this process has taken the place.
    pub fn succeed(&self) {
        if let Some(line) = &self.line
            && let Err(error) = line.say(LISTENING, None)
        {
            tracing::warn!(%error, "the process before this one is gone already");
        }
    }
}

impl Given {
    /// `ADDRESS NAME`.
    fn told(text: &str, socket: OwnedFd) -> Option<Self> {
        let (asked, name) = text.split_once(' ')?;
        Some(Self { name: Some(name.to_owned()), asked: asked.parse().ok()?, socket: socket.into() })
    }
}
