//! Gets a key set from where it is published: one GET over HTTP/1.1, by TLS but on this machine, bounded in octets and in redirects.
//! Whoever asks bounds the time, and asks again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_ENCODING, HOST, LOCATION, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use portunus_tls::{Client, Expected};
use tokens::{Fetch, Fetching, Location, MOST_OCTETS_OF_SET};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};

/// From where it is said to where it is.
const MOST_REDIRECTS: usize = 3;
/// Addresses of a name that are tried.
const MOST_ADDRESSES: usize = 4;
/// Octets of an answer's head.
const MOST_HEAD: usize = 64 * 1024;

/// Gets a key set.
pub struct Fetcher {
    location: Location,
    tls: Option<Arc<Client>>,
}

/// What a server answers.
enum Answered {
    Octets(Vec<u8>),
    Elsewhere(String),
}

impl Fetcher {
    /// From there. Without `tls`, servers that want it are not asked: nobody vouches for them.
    pub fn new(location: Location, tls: Option<Arc<Client>>) -> Self {
        Self { location, tls }
    }

    async fn follow(&self) -> Result<Vec<u8>, String> {
        let mut at = self.location.clone();
        for _ in 0..=MOST_REDIRECTS {
            match self.ask(&at).await? {
                Answered::Octets(octets) => return Ok(octets),
                Answered::Elsewhere(to) => {
                    at = at.follow(&to).map_err(|why| format!("it sends us elsewhere: {why}"))?
                }
            }
        }
        Err(format!("it sends us elsewhere more than {MOST_REDIRECTS} times"))
    }

    async fn ask(&self, at: &Location) -> Result<Answered, String> {
        let stream = dial(at).await?;
        if !at.is_secure {
            return exchange(stream, at).await;
        }
        let tls = self.tls.as_ref().ok_or("TLS: nothing says who may vouch for its server")?;
        let stream = tls.connect(stream, &at.host, Expected::Host(&at.host)).await;
        exchange(stream.map_err(|refused| format!("TLS: {refused}"))?, at).await
    }
}

impl Fetch for Fetcher {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(self.follow())
    }
}

async fn dial(at: &Location) -> Result<TcpStream, String> {
    let failed = |error: io::Error| format!("it cannot be reached: {error}");
    let found = lookup_host((at.host.as_str(), at.port)).await.map_err(failed)?;
    // What a name means is looked at too: `localhost` could lead elsewhere.
    let addresses: Vec<SocketAddr> = found.filter(|address| at.may_dial(address.ip())).take(MOST_ADDRESSES).collect();
    let mut last = "it cannot be reached: its name has no address that may be asked without TLS".to_owned();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = failed(error),
        }
    }
    Err(last)
}

/// One request, and the whole answer.
async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, at: &Location) -> Result<Answered, String> {
    let mut http = http1::Builder::new();
    http.max_buf_size(MOST_HEAD);
    let failed = |error: hyper::Error| format!("HTTP: {error}");
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = Request::get(at.target.as_str())
        .header(HOST, at.authority())
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, "portunus")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        read(response).await
    };
    tokio::pin!(answer, connection);
    let mut is_over = false;
    loop {
        tokio::select! {
            biased;
            answered = &mut answer => return answered,
            // Its end is no failure by itself: what came before it is still to be read.
            _ = &mut connection, if !is_over => is_over = true,
        }
    }
}

async fn read(response: Response<Incoming>) -> Result<Answered, String> {
    match response.status() {
        StatusCode::OK => {}
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            return to.map(|to| Answered::Elsewhere(to.to_owned())).ok_or_else(|| "it sends us nowhere".to_owned());
        }
        other => return Err(format!("it answers {other}")),
    }
    if response.headers().contains_key(CONTENT_ENCODING) {
        return Err("it answers in a coding that was not asked for".to_owned());
    }
    let body = Limited::new(response.into_body(), MOST_OCTETS_OF_SET).collect().await;
    let body = body.map_err(|error| format!("its answer cannot be read: {error}"))?;
    Ok(Answered::Octets(body.to_bytes().to_vec()))
}

#[cfg(test)]
mod tests;
