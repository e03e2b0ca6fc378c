//! What the admin port says, read as Prometheus and people read it.

use std::collections::BTreeMap;

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::TestProxy;

/// One line of `/metrics`.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// With its suffix: `_total`, `_count`.
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// The status and the body of a page of an admin port.
pub(crate) async fn get(admin: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    said(admin, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await
}

async fn said(admin: SocketAddr, request: &str) -> std::io::Result<(u16, String)> {
    let mut socket = TcpStream::connect(admin).await?;
    socket.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    assert!(!head.contains("chunked"), "{head}");
    Ok((head[9..12].parse().unwrap(), body.to_owned()))
}

/// Asks for something to be done.
pub(crate) async fn post(admin: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    post_body(admin, path, "").await
}

/// The same with a body.
pub(crate) async fn post_body(admin: SocketAddr, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    let request = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    said(admin, &format!("{request}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())).await
}

impl TestProxy {
    /// Asks for something to be done.
    pub(crate) async fn post(&self, path: &str) -> (u16, String) {
        post(self.admin_address(), path).await.unwrap()
    }

    /// The body of a page.
    pub(crate) async fn page(&self, path: &str) -> String {
        let (status, body) = get(self.admin_address(), path).await.unwrap();
        assert!(status == 200 || path == "/ready", "{path}: {status}");
        body
    }

    /// A page of JSON.
    pub(crate) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.page(path).await).unwrap()
    }

    /// Every series.
    pub(crate) async fn metrics(&self) -> Vec<Series> {
        self.page("/metrics").await.lines().filter_map(series).collect()
    }

    /// The sum of the series with this name and all of these labels.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |series: &&Series| {
            series.name == name
                && labels.iter().all(|(name, value)| series.labels.get(*name).is_some_and(|found| found == value))
        };
        self.metrics().await.iter().filter(fits).map(|series| series.value).sum()
    }

    /// Calls of the cluster `echo` that are open towards its instances, as `/clusters` has it.
    pub(crate) async fn in_flight(&self) -> u64 {
        let clusters = self.json("/clusters").await;
        let list =
            clusters.as_array().or_else(|| clusters["clusters"].as_array()).unwrap_or_else(|| panic!("{clusters}"));
        list.iter().map(|cluster| cluster["in_flight"].as_u64().unwrap()).sum()
    }

    /// Whether nothing is open any more, neither calls nor what they hold.
    pub(crate) async fn is_quiet(&self) -> bool {
        self.metric("portunus_open_calls", &[]).await == 0.0 && self.in_flight().await == 0
    }
}

/// `name{label="value",…} number`; none of our values has a quote in it.
fn series(line: &str) -> Option<Series> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| {
        let (name, value) = label.split_once("=\"")?;
        Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
    });
    Some(Series { name: name.to_owned(), labels: labels.collect(), value: value.parse().ok()? })
}
