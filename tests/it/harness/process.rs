//! A proxy in a process of its own: to be killed, and to be short of disk.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};

use super::{get, soon};

/// A process, ended with the test.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) admin: SocketAddr,
}

/// Addresses that nobody else has: for a proxy of another process, which cannot say what port 0 became.
pub(crate) fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    // Held together, so that they differ.
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|socket| socket.local_addr().unwrap())
}

/// A proxy by the configuration in this file.
pub(crate) fn running(file: impl AsRef<Path>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portunus"));
    command.arg("run").arg("-c").arg(file.as_ref());
    command
}

/// A proxy whose files may not grow over so many octets, as if the disk was full: a signal that would end it is not taken.
pub(crate) fn full_at(size: u64, configuration: &Path) -> Command {
    let mut command = Command::new("sh");
    let blocks = size.div_ceil(512);
    let script = format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" run -c \"$1\"");
    command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_portunus")).arg(configuration);
    command
}

impl Process {
    /// What it says is appended to `log`.
    pub(crate) fn spawn(mut command: Command, log: &Path, admin: SocketAddr) -> Self {
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = command.kill_on_drop(true).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, admin }
    }

    /// Waits until `/ready` answers with this status.
    pub(crate) async fn until_ready(&mut self, wanted: u16) {
        let ready = async {
            loop {
                if let Ok((status, _)) = get(self.admin, "/ready").await
                    && status == wanted
                {
                    return;
                }
                assert!(self.child.try_wait().unwrap().is_none(), "it ended");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon(ready).await;
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&get(self.admin, path).await.unwrap().1).unwrap()
    }

    /// Sends it this signal.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().await.unwrap().success());
    }

    /// As `kill -9` does it.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) async fn stop(mut self) -> Option<i32> {
        self.signal("TERM").await;
        soon(self.child.wait()).await.unwrap().code()
    }

    /// The disk has room again.
    pub(crate) async fn has_room(&self) {
        let id = self.child.id().unwrap().to_string();
        let status = Command::new("prlimit").args(["--pid", &id, "--fsize=unlimited"]).status().await;
        assert!(status.unwrap().success());
    }
}
