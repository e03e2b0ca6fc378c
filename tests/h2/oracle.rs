//! The `h2` crate as a second opinion: it gets the same octets, and says what it saw of each stream and what it answered.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, DuplexStream, ReadBuf};

use crate::engine::Role;
use crate::wire::{Frame, PREFACE, Reader};

pub(crate) type List = Vec<(String, Vec<u8>)>;

/// What one end saw of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) head: Option<List>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<List>,
    pub(crate) ended: bool,
    pub(crate) error: bool,
}

type Stories = Arc<Mutex<BTreeMap<u32, Story>>>;

pub(crate) struct Oracle {
    runtime: tokio::runtime::Runtime,
    wire: DuplexStream,
    reader: Reader,
    stories: Stories,
    preface: usize,
}

impl Oracle {
    /// With the limits of `differential::config`.
    pub(crate) fn new(role: Role) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (wire, theirs) = tokio::io::duplex(4 << 20);
        let stories = Stories::default();
        match role {
            Role::Server => drop(runtime.spawn(serve(theirs, Arc::clone(&stories)))),
            Role::Client => drop(runtime.spawn(call(theirs, Arc::clone(&stories)))),
        }
        let preface = if role == Role::Client { PREFACE.len() } else { 0 };
        Self { runtime, wire, reader: Reader::default(), stories, preface }
    }

    /// It gets these octets; the frames that it answers with.
    pub(crate) fn feed(&mut self, octets: &[u8]) -> Vec<Frame> {
        let Self { runtime, wire, reader, preface, .. } = self;
        let got = runtime.block_on(async {
            // Once it has ended the connection nobody reads.
            wire.write_all(octets).await.ok();
            let mut got = Vec::new();
            for _ in 0..40 {
                tokio::task::yield_now().await;
                read_now(wire, &mut got).await;
            }
            got
        });
        let skipped = got.len().min(*preface);
        *preface -= skipped;
        reader.push(&got[skipped..]);
        std::iter::from_fn(|| reader.next()).collect()
    }

    pub(crate) fn stories(&self) -> BTreeMap<u32, Story> {
        self.stories.lock().clone()
    }
}

async fn read_now(wire: &mut DuplexStream, got: &mut Vec<u8>) {
    let mut room = [0; 4_096];
    loop {
        let mut buffer = ReadBuf::new(&mut room);
        let polled = std::future::poll_fn(|context| match Pin::new(&mut *wire).poll_read(context, &mut buffer) {
            Poll::Ready(result) => Poll::Ready(result.is_ok()),
            Poll::Pending => Poll::Ready(false),
        });
        if !polled.await || buffer.filled().is_empty() {
            return;
        }
        got.extend_from_slice(buffer.filled());
    }
}

async fn serve(wire: DuplexStream, stories: Stories) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(4).max_header_list_size(4 << 10).initial_connection_window_size(1 << 20);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(wire).await else { return };
    let mut answers = Vec::new();
    while let Some(Ok((request, answer))) = connection.accept().await {
        // Dropped it would reset.
        answers.push(answer);
        let (head, body) = request.into_parts();
        let id = u32::from(body.stream_id());
        let mut list = fields(&head.headers);
        list.push((":method".to_owned(), head.method.as_str().as_bytes().to_vec()));
        list.push((":path".to_owned(), head.uri.path_and_query().map_or(Vec::new(), |path| path.as_str().into())));
        list.push((":authority".to_owned(), head.uri.authority().map_or(Vec::new(), |host| host.as_str().into())));
        stories.lock().entry(id).or_default().head = Some(list);
        tokio::spawn(read(id, body, Arc::clone(&stories)));
    }
}

async fn call(wire: DuplexStream, stories: Stories) {
    let mut builder = h2::client::Builder::new();
    builder.max_header_list_size(4 << 10).initial_connection_window_size(1 << 20).enable_push(false);
    let Ok((mut client, connection)) = builder.handshake::<_, Bytes>(wire).await else { return };
    let driver = tokio::spawn(connection);
    let mut bodies = Vec::new();
    for id in [1, 3, 5] {
        let request = http::Request::post("http://a/a.B/C").body(()).unwrap();
        let Ok((answer, body)) = client.send_request(request, id > 1) else { return };
        bodies.push(body);
        let stories = Arc::clone(&stories);
        tokio::spawn(async move {
            match answer.await {
                Ok(answer) => {
                    let (head, body) = answer.into_parts();
                    let mut list = fields(&head.headers);
                    list.push((":status".to_owned(), head.status.as_str().as_bytes().to_vec()));
                    stories.lock().entry(id).or_default().head = Some(list);
                    read(id, body, stories).await;
                }
                Err(_) => stories.lock().entry(id).or_default().error = true,
            }
        });
    }
    driver.await.ok();
    drop((client, bodies));
}

async fn read(id: u32, mut body: h2::RecvStream, stories: Stories) {
    let story = |change: &dyn Fn(&mut Story)| change(stories.lock().entry(id).or_default());
    loop {
        match body.data().await {
            Some(Ok(bytes)) => {
                story(&|story| story.body.extend_from_slice(&bytes));
                body.flow_control().release_capacity(bytes.len()).ok();
            }
            Some(Err(_)) => return story(&|story| story.error = true),
            None => break,
        }
    }
    match body.trailers().await {
        Ok(trailers) => story(&|story| {
            story.trailers = trailers.as_ref().map(fields);
            story.ended = true;
        }),
        Err(_) => return story(&|story| story.error = true),
    }
    // What comes behind the end is the connection's to judge, while somebody holds the stream.
    std::future::pending::<()>().await;
}

/// By name; a map keeps no other order.
fn fields(map: &HeaderMap) -> List {
    let mut list: List =
        map.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    list.sort();
    list
}
