//! The proxy as a process: started with a configuration, asked over its admin port, ended. Knows nothing of calls.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::metrics::Metrics;
use crate::{Error, Result};

/// From the start to the last "listening" line.
const START: Duration = Duration::from_secs(10);
/// From SIGTERM to the exit; the proxy drains for 30 s at most.
const END: Duration = Duration::from_secs(40);

/// Its configuration, in its folder.
const FILE: &str = "portunus.yaml";

/// A running proxy. Dropped, it is killed.
pub(crate) struct Proxy {
    child: Child,
    /// What it wrote to stderr.
    log: Arc<Mutex<Vec<String>>>,
    listeners: HashMap<String, SocketAddr>,
    admin: SocketAddr,
    folder: PathBuf,
}

impl Proxy {
    /// Starts `binary` with this configuration, whose addresses have port 0, and waits until it listens.
    pub(crate) async fn start(binary: &Path, config: &str) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("portunus-load-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let file = folder.join(FILE);
        std::fs::write(&file, config)?;
        let mut child = Command::new(binary)
            .args(["run", "-c"])
            .arg(&file)
            .env("PORTUNUS_LOG", "info")
            .env("PORTUNUS_LOG_FORMAT", "json")
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let log = Arc::new(Mutex::new(Vec::new()));
        if let Some(stderr) = child.stderr.take() {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    log.lock().push(line);
                }
            });
        }
        let unset = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut proxy = Self { child, log, listeners: HashMap::new(), admin: unset, folder };
        proxy.wait_until_it_listens().await?;
        Ok(proxy)
    }

    /// The admin server's line is the last one of a start.
    async fn wait_until_it_listens(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        while self.admin.port() == 0 {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the proxy ended with {status}:\n{}", self.log.lock().join("\n")).into());
            }
            if Instant::now() > deadline {
                return Err(format!("the proxy does not listen:\n{}", self.log.lock().join("\n")).into());
            }
            sleep(Duration::from_millis(10)).await;
            for line in self.log.lock().iter() {
                let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { continue };
                let text = |name: &str| {
                    let field = line.get("fields").and_then(|fields| fields.get(name)).or_else(|| line.get(name));
                    field.and_then(serde_json::Value::as_str).map(str::to_owned)
                };
                let Some(address) = text("address").and_then(|text| text.parse().ok()) else { continue };
                match text("listener") {
                    Some(listener) => {
                        self.listeners.insert(listener, address);
                    }
                    None => self.admin = address,
                }
            }
        }
        Ok(())
    }

    /// Where a listener listens.
    pub(crate) fn listener(&self, name: &str) -> Result<SocketAddr> {
        self.listeners.get(name).copied().ok_or_else(|| Error::from(format!("the proxy named no listener `{name}`")))
    }

    /// `/metrics`, read.
    pub(crate) async fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&self.ask("/metrics").await?))
    }

    /// Calls that `/instances` counts as open, over all instances.
    pub(crate) async fn in_flight(&self) -> Result<u64> {
        Ok(self.instances().await?.iter().filter_map(|instance| instance["in_flight"].as_u64()).sum())
    }

    /// `/instances`.
    pub(crate) async fn instances(&self) -> Result<Vec<serde_json::Value>> {
        Ok(serde_json::from_str(&self.ask("/instances").await?)?)
    }

    /// How many agents `/agents` shows.
    pub(crate) async fn agents(&self) -> Result<usize> {
        Ok(serde_json::from_str::<Vec<serde_json::Value>>(&self.ask("/agents").await?)?.len())
    }

    /// A GET of the admin port: the body of a 200.
    async fn ask(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.admin).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.admin);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("GET {path} was answered with {}", head.lines().next().unwrap_or_default()).into());
        }
        Ok(body.to_owned())
    }

    /// Where its configuration and its access log lie.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Has it read another configuration, which takes the file's place at one moment.
    pub(crate) async fn reload(&self, config: &str) -> Result<()> {
        let beside = self.folder.join("next");
        std::fs::write(&beside, config)?;
        std::fs::rename(&beside, self.folder.join(FILE))?;
        signal(self.pid()?, "HUP").await
    }

    /// Its threads.
    pub(crate) fn threads(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/task", self.pid()?))?.count())
    }

    fn pid(&self) -> Result<u32> {
        self.child.id().ok_or_else(|| "the proxy is not there any more".into())
    }

    /// Whether it is still there.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Lines of its log that speak of a panic, an error or a warning.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.log.lock();
        let bad = |line: &&String| ["panicked", "\"ERROR\"", "\"WARN\""].iter().any(|word| line.contains(word));
        log.iter().filter(bad).cloned().collect()
    }

    /// Ends it politely; whether it ended with 0.
    pub(crate) async fn end(mut self) -> Result<bool> {
        if let Some(pid) = self.child.id() {
            signal(pid, "TERM").await?;
        }
        let status = timeout(END, self.child.wait()).await.map_err(|_| "the proxy does not end after SIGTERM")??;
        drop(std::fs::remove_dir_all(&self.folder));
        Ok(status.success())
    }
}

/// Sends a signal by kill(1): std has none, and a crate for this alone is not worth it.
pub(crate) async fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status().await?;
    if status.success() { Ok(()) } else { Err(format!("kill -s {name} {pid} failed").into()) }
}
