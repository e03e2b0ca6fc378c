//! An instance with a reflection of its own manner: it echoes every call, and tells of itself what a test says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{
    ErrorResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest, ServerReflectionResponse,
    ServiceResponse,
};

use super::{Got, Upstream, fields, framed, head};

/// What an instance tells of itself.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    /// This descriptor set, by both versions of the protocol.
    Honest(Vec<u8>),
    /// This descriptor set, by the older version only.
    Alpha(Vec<u8>),
    /// A service `p2.S`, and this file.
    Raw(Vec<u8>),
    /// It has no reflection.
    None,
    /// Each file imports another, for ever.
    Endless,
    /// One answer of 100 MB.
    Huge,
    /// Large files, of other names each time.
    Much,
    /// An octet a second.
    Drip,
    /// Its services, and no answer after that.
    Silent,
}

/// What an instance answers to all calls of a method.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// This message.
    Message(Vec<u8>),
    /// This message, whatever it was asked.
    Always(Vec<u8>),
    /// This status.
    Status(&'static str),
    /// Nothing.
    Hangs,
}

/// A running instance.
pub(crate) struct Reflecting {
    says: Arc<Mutex<HashMap<String, Said>>>,
    /// Calls that were answered by what it says.
    said: Arc<AtomicUsize>,
    upstream: Upstream,
    manner: Arc<Mutex<Manner>>,
    refuses: Arc<Mutex<Vec<String>>>,
}

impl Reflecting {
    pub(crate) async fn start(manner: Manner) -> Self {
        let manner = Arc::new(Mutex::new(manner));
        let refuses: Arc<Mutex<Vec<String>>> = Arc::default();
        let says: Arc<Mutex<HashMap<String, Said>>> = Arc::default();
        let (told, refused, saying) = (Arc::clone(&manner), Arc::clone(&refuses), Arc::clone(&says));
        let said: Arc<AtomicUsize> = Arc::default();
        let counted = Arc::clone(&said);
        let upstream = Upstream::start(move |mut got: Got| {
            let (manner, refused) = (told.lock().clone(), refused.lock().clone());
            let said = saying.lock().get(got.head.uri.path()).cloned();
            if said.is_some() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            async move {
                let path = got.head.uri.path().to_owned();
                if let Some(said) = said {
                    return say(got, said).await;
                }
                match path.strip_prefix("/grpc.reflection.v1") {
                    Some(rest) => reflect(got, manner, rest.starts_with("alpha")).await,
                    None if refused.contains(&path) => {
                        drop(got.reply.send_response(head(&[("grpc-status", "12")]), true));
                    }
                    None => got.echo().await,
                }
            }
        })
        .await;
        Self { upstream, manner, refuses, says, said }
    }

    /// With the schema of this `.proto` text.
    pub(crate) async fn with(text: &str) -> Self {
        Self::start(Manner::Honest(set(text))).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.upstream.address()
    }

    /// Calls so far, reflection's included.
    pub(crate) fn calls(&self) -> usize {
        self.upstream.calls()
    }

    /// Calls that were answered by what it says.
    pub(crate) fn said(&self) -> usize {
        self.said.load(Ordering::SeqCst)
    }

    /// Is started anew in place, tells nothing of itself, and ends connections that have no call soon.
    pub(crate) async fn become_fickle(&self) {
        let change = || {
            self.turn(Manner::Silent);
            self.upstream.lose_patience();
        };
        self.upstream.restart(change).await;
    }

    /// Tells this of itself from now on.
    pub(crate) fn turn(&self, manner: Manner) {
        *self.manner.lock() = manner;
    }

    /// Is started anew in place, by which it has become another version: it tells this of itself, and answers this to a path.
    pub(crate) async fn become_another(&self, manner: Manner, (path, said): (&str, Said)) {
        let change = || {
            self.turn(manner);
            self.say(path, said);
        };
        self.upstream.restart(change).await;
    }

    /// Answers this to a path from now on.
    pub(crate) fn say(&self, path: &str, said: Said) {
        self.says.lock().insert(path.to_owned(), said);
    }

    /// Knows all paths again.
    pub(crate) fn relent(&self) {
        self.refuses.lock().clear();
    }

    /// Does not know this path any more.
    pub(crate) fn refuse(&self, path: &str) {
        self.refuses.lock().push(path.to_owned());
    }
}

/// A descriptor set whose files stay as they are: options that `prost` does not know would be lost in its own type.
#[derive(Clone, PartialEq, prost::Message)]
struct Files {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// The descriptor set of a `.proto` text, with what it imports.
pub(crate) fn set(text: &str) -> Vec<u8> {
    use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};
    struct One(String);
    impl FileResolver for One {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            match name {
                "t.proto" => File::from_source(name, &self.0),
                other => Err(protox::Error::file_not_found(other)),
            }
        }
    }
    let mut files = ChainFileResolver::new();
    files.add(One(text.to_owned()));
    files.add(GoogleFileResolver::new());
    files.add(IncludeFileResolver::new(concat!(env!("CARGO_MANIFEST_DIR"), "/proto/protos").into()));
    let mut compiler = protox::Compiler::with_file_resolver(files);
    compiler.include_imports(true).open_file("t.proto").unwrap();
    compiler.encode_file_descriptor_set()
}

async fn say(mut got: Got, said: Said) {
    let Ok(asked) = got.read().await else { return };
    if let Said::Always(message) = said {
        return got.succeed(&[message]);
    }
    // It is a call like any other: with a message, here an empty one.
    assert_eq!(asked, [0; 5], "an empty message");
    match said {
        Said::Always(_) => {}
        Said::Message(message) => got.succeed(&[message]),
        Said::Status(code) => drop(got.reply.send_response(head(&[("grpc-status", code)]), true)),
        Said::Hangs => std::future::pending().await,
    }
}

async fn reflect(mut got: Got, manner: Manner, alpha: bool) {
    if matches!(manner, Manner::None) || (matches!(manner, Manner::Alpha(_)) && !alpha) {
        drop(got.reply.send_response(head(&[("grpc-status", "12")]), true));
        return;
    }
    let mut answers = got.begin();
    let mut came = BytesMut::new();
    let mut number = 0;
    while let Some(Ok(bytes)) = got.body.data().await {
        drop(got.body.flow_control().release_capacity(bytes.len()));
        came.extend_from_slice(&bytes);
        while came.len() >= 5 {
            let length = u32::from_be_bytes(came[1..5].try_into().unwrap()) as usize;
            if came.len() < 5 + length {
                break;
            }
            came.advance(5);
            let question = ServerReflectionRequest::decode(came.split_to(length)).unwrap();
            number += 1;
            let answer = answer(&manner, question.message_request.unwrap(), number);
            let Some(answer) = answer else { continue };
            let response = ServerReflectionResponse { message_response: Some(answer), ..Default::default() };
            let octets = framed(&response.encode_to_vec());
            if matches!(manner, Manner::Drip) {
                for octet in octets {
                    if answers.send_data(vec![octet].into(), false).is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            } else if answers.send_data(octets, false).is_err() {
                return;
            }
        }
    }
    drop(answers.send_trailers(fields(&[("grpc-status", "0")])));
}

fn answer(manner: &Manner, question: MessageRequest, number: usize) -> Option<MessageResponse> {
    let lists = matches!(question, MessageRequest::ListServices(_));
    let names = |names: Vec<String>| {
        let service = names.into_iter().map(|name| ServiceResponse { name }).collect();
        Some(MessageResponse::ListServicesResponse(ListServiceResponse { service }))
    };
    let files = |files: Vec<FileDescriptorProto>| {
        let file_descriptor_proto = files.iter().map(prost::Message::encode_to_vec).collect();
        Some(MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto }))
    };
    let file = |name: String| FileDescriptorProto {
        name: Some(name),
        package: Some(format!("p{number}")),
        syntax: Some("proto3".into()),
        ..Default::default()
    };
    match manner {
        Manner::Honest(set) | Manner::Alpha(set) => {
            let octets = &set[..];
            let set = FileDescriptorSet::decode(octets).unwrap();
            if lists {
                let of = |file: &FileDescriptorProto| {
                    let package = file.package().to_owned();
                    file.service.iter().map(move |service| format!("{package}.{}", service.name())).collect::<Vec<_>>()
                };
                return names(set.file.iter().flat_map(of).collect());
            }
            let raw = Files::decode(octets).unwrap();
            let response = FileDescriptorResponse { file_descriptor_proto: raw.file };
            Some(MessageResponse::FileDescriptorResponse(response))
        }
        _ if lists => names(vec!["p2.S".into()]),
        Manner::Endless => {
            let next = format!("f{number}.proto");
            let mut one = file(format!("f{}.proto", number - 1));
            one.dependency.push(next);
            files(vec![one])
        }
        Manner::Huge => {
            let mut one = file("huge.proto".into());
            one.dependency.push("x".repeat(100 << 20));
            files(vec![one])
        }
        Manner::Much => {
            let mut one = file(format!("much{number}.proto"));
            one.dependency.push(format!("{}{number}", "x".repeat(3 << 20)));
            files(vec![one])
        }
        Manner::Raw(file) => Some(MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
            file_descriptor_proto: vec![file.clone()],
        })),
        Manner::Silent => None,
        Manner::Drip => files(vec![file("f.proto".into())]),
        Manner::None => {
            Some(MessageResponse::ErrorResponse(ErrorResponse { error_code: 5, error_message: "no".into() }))
        }
    }
}
