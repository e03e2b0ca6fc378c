//! Servers that tell everything, servers that forget half of it, and servers that mean harm.

pub(crate) mod compile;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use buffa::{DecodeOptions, Message as _};
use buffa_descriptor::generated::descriptor::feature_set::MessageEncoding;
use buffa_descriptor::generated::descriptor::field_descriptor_proto::{Label, Type};
use buffa_descriptor::generated::descriptor::{
    DescriptorProto, Edition, FeatureSet, FieldDescriptorProto, FieldOptions, FileDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto, ServiceDescriptorProto,
};
use bytes::Bytes;
use portunus_proto::descriptors;
use tokio::time::{Instant, sleep};

use super::{Answer, Bounds, Collection, Question, Reflection, Schema, SchemaError, fetch};

/// A server that answers out of files, as its manner is.
#[derive(Default)]
struct Server {
    services: Vec<String>,
    files: BTreeMap<String, FileDescriptorProto>,
    /// Sends what a file imports along with it.
    whole: bool,
    /// How long each answer takes.
    slow: Duration,
    asked: Vec<Question>,
}

impl Server {
    fn of(set: &[u8]) -> Self {
        let set: FileDescriptorSet = DecodeOptions::new().decode_from_slice(set).unwrap();
        let mut server = Self::default();
        set.file.into_iter().for_each(|file| server.add(file));
        server
    }

    fn add(&mut self, file: FileDescriptorProto) {
        let package = file.package.clone().unwrap_or_default();
        self.services.extend(file.service.iter().map(|s| format!("{package}.{}", s.name.as_deref().unwrap())));
        self.files.insert(file.name.clone().unwrap(), file);
    }

    fn without(mut self, prefix: &str) -> Self {
        self.files.retain(|name, _| !name.starts_with(prefix));
        self
    }

    fn with_imports(&self, name: &str) -> Vec<Bytes> {
        let (mut open, mut seen, mut found) = (vec![name.to_owned()], BTreeSet::new(), Vec::new());
        while let Some(file) = open.pop().and_then(|name| self.files.get(&name)) {
            if seen.insert(file.name.clone()) {
                found.push(file.encode_to_vec().into());
                open.extend(file.dependency.iter().filter(|_| self.whole).cloned());
            }
        }
        found
    }

    fn defines(file: &FileDescriptorProto, symbol: &str) -> bool {
        let package = file.package.as_deref().unwrap_or_default();
        let Some(name) = symbol.strip_prefix(package).map(|rest| rest.trim_start_matches('.')) else { return false };
        file.service.iter().any(|service| service.name.as_deref() == Some(name))
            || file.message_type.iter().any(|message| message.name.as_deref() == Some(name))
    }
}

impl Reflection for Server {
    async fn ask(&mut self, question: Question) -> Result<Answer, SchemaError> {
        self.asked.push(question.clone());
        sleep(self.slow).await;
        let name = match question {
            Question::Services => return Ok(Answer::Services(self.services.clone())),
            Question::Symbol(symbol) => {
                let file = self.files.iter().find(|(_, file)| Self::defines(file, &symbol));
                file.map(|(name, _)| name.clone())
            }
            Question::File(name) => Some(name),
        };
        let files = name.map(|name| self.with_imports(&name)).unwrap_or_default();
        Ok(if files.is_empty() { Answer::Unknown("not found".into()) } else { Answer::Files(files) })
    }
}

async fn get(mut server: Server) -> Schema {
    fetch(&mut server, Bounds::REMOTE).await.unwrap()
}

async fn refused(mut server: Server) -> String {
    fetch(&mut server, Bounds::REMOTE).await.unwrap_err().to_string()
}

fn field(name: &str, number: i32, of: &str) -> FieldDescriptorProto {
    let is_text = of.is_empty();
    FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        label: Some(Label::LABEL_OPTIONAL),
        r#type: Some(if is_text { Type::TYPE_STRING } else { Type::TYPE_MESSAGE }),
        type_name: (!is_text).then(|| of.into()),
        ..FieldDescriptorProto::default()
    }
}

fn message(name: &str, field: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto { name: Some(name.into()), field, ..DescriptorProto::default() }
}

/// A file with a service `S` whose only method `M` takes and gives its first message.
fn file(name: &str, package: &str, messages: Vec<DescriptorProto>) -> FileDescriptorProto {
    let input = messages.first().and_then(|first| first.name.as_deref()).map(|first| format!(".{package}.{first}"));
    let method = MethodDescriptorProto {
        name: Some("M".into()),
        input_type: input.clone(),
        output_type: input,
        ..MethodDescriptorProto::default()
    };
    FileDescriptorProto {
        name: Some(name.into()),
        package: Some(package.into()),
        syntax: Some("proto3".into()),
        message_type: messages,
        service: vec![ServiceDescriptorProto {
            name: Some("S".into()),
            method: vec![method],
            ..ServiceDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    }
}

fn importing(mut file: FileDescriptorProto, imports: &[&str]) -> FileDescriptorProto {
    file.dependency = imports.iter().map(|name| (*name).to_owned()).collect();
    file
}

#[tokio::test(start_paused = true)]
async fn whatever_a_server_sends_along_the_schema_is_the_same() {
    let all = get(Server::of(descriptors::SHANNON)).await;
    assert_eq!(all.services().count(), 5);
    assert!(all.problems().is_empty(), "{:?}", all.problems());
    let method = all.method("shannon.orchestrator.OrchestratorService", "SubmitTask").unwrap();
    assert!(!method.client_streaming && !method.server_streaming);
    let mut services: Vec<_> = all.services().map(str::to_owned).collect();
    services.reverse();
    for server in [
        Server { whole: true, ..Server::of(descriptors::SHANNON) },
        Server::of(descriptors::SHANNON).without("google/"),
        Server { services, ..Server::of(descriptors::SHANNON) },
    ] {
        let other = get(server).await;
        assert_eq!((other.digest(), other.messages()), (all.digest(), all.messages()));
    }
    let mut pinned = Collection::new(Bounds::LOCAL);
    pinned.add_set(&all.to_set()).unwrap();
    assert_eq!(pinned.finish().unwrap().digest(), all.digest(), "as a file too");
    assert_ne!(get(Server::of(descriptors::SEAL)).await.digest(), all.digest());
}

#[tokio::test(start_paused = true)]
async fn files_are_asked_for_once_and_those_that_are_missing_are_found_by_what_they_define() {
    let mut server = Server::default();
    // Registered under one path, imported under another; and an import that is there under no name at all.
    server.add(importing(
        file("api/a.proto", "a", vec![message("R", vec![field("t", 1, ".b.T")])]),
        &["b.proto", "gone.proto"],
    ));
    let b = FileDescriptorProto {
        service: Vec::new(),
        ..file("proto/b.proto", "b", vec![message("T", vec![field("x", 1, "")])])
    };
    server.add(b);
    let schema = fetch(&mut server, Bounds::REMOTE).await.unwrap();
    assert!(schema.problems().is_empty(), "{:?}", schema.problems());
    let method = schema.method("a.S", "M").unwrap();
    let wire = schema.request_from_json(method, r#"{"t": {"x": "hello"}}"#).unwrap();
    assert_eq!(schema.response_to_json(method, &wire).unwrap(), r#"{"t":{"x":"hello"}}"#);
    let mut asked: Vec<_> = server.asked.iter().map(|question| format!("{question:?}")).collect();
    let count = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), count, "{asked:?}");
    assert_eq!(count, 5, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_define_is_passed_on_and_cannot_be_read() {
    let mut server = Server::default();
    server.add(file("a.proto", "a", vec![message("R", vec![field("t", 1, ".lost.T"), field("x", 2, "")])]));
    let schema = get(server).await;
    assert_eq!(schema.problems(), ["lost.T is not defined anywhere, and a.R needs it: what is in it cannot be read"]);
    let method = schema.method("a.S", "M").unwrap();
    // Field 1 with octets that only the server understands.
    let wire = [0x0a, 2, 0x08, 7, 0x12, 1, b'y'];
    assert_eq!(schema.response_to_json(method, &wire).unwrap(), r#"{"t":{},"x":"y"}"#);
    assert!(schema.request_from_json(method, r#"{"t": {"n": 7}}"#).unwrap_err().contains("lost.T"));
    let mut again = Collection::new(Bounds::LOCAL);
    again.add_set(&schema.to_set()).unwrap();
    assert_eq!(again.finish().unwrap().problems().len(), 1, "it is no better as a file");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_broken_takes_no_other_along() {
    let mut server = Server::default();
    server.add(file("good.proto", "good", vec![message("R", vec![field("x", 1, "")])]));
    // A number twice.
    server.add(file("bad.proto", "bad", vec![message("R", vec![field("x", 1, ""), field("y", 1, "")])]));
    server.services.push("never.Heard".into());
    let schema = get(server).await;
    assert_eq!(schema.services().collect::<Vec<_>>(), ["good.S"]);
    let [listed, broken] = schema.problems() else { panic!("{:?}", schema.problems()) };
    assert_eq!(listed, "never.Heard is listed, and the server has no file that defines it");
    assert!(broken.starts_with("bad.proto is left out, and with it S: "), "{broken}");
}

#[tokio::test(start_paused = true)]
async fn copies_placeholders_and_cycles_are_put_up_with() {
    let mut server = Server { whole: true, ..Server::default() };
    let a = importing(file("a.proto", "a", vec![message("R", vec![field("t", 1, ".b.T")])]), &["b.proto", "x.proto"]);
    let b = FileDescriptorProto {
        service: Vec::new(),
        ..file("b.proto", "b", vec![message("T", vec![field("r", 1, ".a.R")])])
    };
    let copy = FileDescriptorProto { name: Some("vendor/b.proto".into()), ..b.clone() };
    server.add(importing(a, &["b.proto", "vendor/b.proto", "x.proto"]));
    server.add(importing(b, &["a.proto"]));
    server.add(copy);
    server.add(FileDescriptorProto {
        name: Some("x.proto".into()),
        syntax: Some("<unknown>".into()),
        ..FileDescriptorProto::default()
    });
    let schema = get(server).await;
    assert_eq!((schema.messages(), schema.problems().len()), (2, 0), "{:?}", schema.problems());
}

#[tokio::test(start_paused = true)]
async fn two_definitions_of_one_name_are_said_to_be() {
    let mut server = Server { whole: true, ..Server::default() };
    server.add(importing(file("a.proto", "a", vec![message("R", vec![])]), &["b.proto", "c.proto"]));
    for (name, number) in [("b.proto", 1), ("c.proto", 2)] {
        let twice = file(name, "b", vec![message("T", vec![field("x", number, "")])]);
        server.add(FileDescriptorProto { service: Vec::new(), ..twice });
    }
    let schema = get(server).await;
    assert_eq!(schema.services().collect::<Vec<_>>(), ["a.S"], "it needs neither");
}

#[tokio::test(start_paused = true)]
async fn editions_are_read_as_a_compiler_would() {
    let delimited = FieldOptions {
        features: buffa::MessageField::some(FeatureSet {
            message_encoding: Some(MessageEncoding::DELIMITED),
            ..FeatureSet::default()
        }),
        ..FieldOptions::default()
    };
    let group = FieldDescriptorProto { options: buffa::MessageField::some(delimited), ..field("t", 1, ".e.T") };
    let mut edition =
        file("e.proto", "e", vec![message("R", vec![group, field("x", 2, "")]), message("T", vec![field("y", 1, "")])]);
    (edition.syntax, edition.edition) = (Some("editions".into()), Some(Edition::EDITION_2023));
    let mut server = Server::default();
    server.add(edition);
    let schema = get(server).await;
    let method = schema.method("e.S", "M").unwrap();
    let wire = schema.request_from_json(method, r#"{"t": {"y": "in"}, "x": ""}"#).unwrap();
    // A group, and a text that is there though it is empty: presence is explicit in editions.
    assert_eq!(wire, [0x0b, 0x0a, 2, b'i', b'n', 0x0c, 0x12, 0]);
    assert_eq!(schema.response_to_json(method, &wire).unwrap(), r#"{"t":{"y":"in"},"x":""}"#);
}

/// Answers every question for a file with one that imports two more.
struct Endless(u64);

impl Reflection for Endless {
    async fn ask(&mut self, question: Question) -> Result<Answer, SchemaError> {
        self.0 += 1;
        Ok(match question {
            Question::Services => Answer::Services(vec!["a.S".into()]),
            Question::Symbol(_) | Question::File(_) => {
                let name = if let Question::File(name) = question { name } else { "0.proto".into() };
                let imports = [format!("{}.proto", self.0 * 2), format!("{}.proto", self.0 * 2 + 1)];
                let file = importing(
                    file(&name, &format!("p{}", self.0), vec![message("R", vec![])]),
                    &[&imports[0], &imports[1]],
                );
                Answer::Files(vec![file.encode_to_vec().into()])
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn hostile_servers_meet_bounds_that_have_names() {
    let error = fetch(&mut Endless(0), Bounds { files: 200, ..Bounds::REMOTE }).await.unwrap_err();
    assert_eq!(error.to_string(), "the schema is over the bound of 200 files");

    let mut deep = message("Deepest", vec![]);
    for at in 0..60 {
        deep = DescriptorProto { nested_type: vec![deep], ..message(&format!("M{at}"), vec![]) };
    }
    let mut server = Server::default();
    server.add(file("deep.proto", "deep", vec![deep]));
    assert_eq!(refused(server).await, "the schema is over the bound of 32 messages within messages");

    let mut wide = Server::default();
    let fields = |from: i32| (from..from + 60_000).map(|n| field(&format!("f{n}"), n % 18_000 + 1, "")).collect();
    wide.add(file("wide.proto", "wide", (0..4).map(|at| message(&format!("M{at}"), fields(at))).collect()));
    assert_eq!(refused(wide).await, "the schema is over the bound of 200000 elements");

    let mut large = Server::default();
    for at in 0..4 {
        let reserved = DescriptorProto { reserved_name: vec!["x".repeat(5 << 20)], ..message("R", vec![]) };
        large.add(file(&format!("{at}.proto"), &format!("p{at}"), vec![reserved]));
    }
    assert_eq!(refused(large).await, "the schema is over the bound of 16777216 bytes");

    let mut pairs = Server::default();
    let many = (0..10_000).map(|at| message(&format!("M{at}"), vec![])).collect();
    let compared = (1..10_000).map(|at| field(&format!("f{at}"), at, ".pairs.R.M1")).collect();
    pairs.add(file("pairs.proto", "pairs", vec![DescriptorProto { nested_type: many, ..message("R", compared) }]));
    assert_eq!(refused(pairs).await, "the schema is over the bound of 12800000 fields times messages within");

    let many = Server { services: (0..1_001).map(|at| format!("a.S{at}")).collect(), ..Server::default() };
    assert_eq!(refused(many).await, "the schema is over the bound of 1000 services");

    let slow = Server { slow: Duration::from_secs(3), ..Server::of(descriptors::SHANNON) };
    let before = Instant::now();
    assert_eq!(refused(slow).await, "the schema is over the bound of 10 seconds");
    assert!(before.elapsed() <= Duration::from_secs(10), "{:?}", before.elapsed());

    let nothing = Server { services: vec!["a.S".into()], ..Server::default() };
    assert!(refused(nothing).await.contains("a.S is listed, and the server has no file"));
    assert_eq!(refused(Server::default()).await, "it describes no service: it lists none");
}

/// Octets that are no file, and answers to other questions.
struct Liar(Answer);

impl Reflection for Liar {
    async fn ask(&mut self, question: Question) -> Result<Answer, SchemaError> {
        Ok(if question == Question::Services { Answer::Services(vec!["a.S".into()]) } else { self.0.clone() })
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_none_are_refused() {
    for (answer, error) in [
        (Answer::Files(vec![Bytes::from_static(b"\xff\xff")]), "a file's descriptor is broken"),
        (Answer::Files(vec![Bytes::new()]), "no name"),
        (Answer::Services(vec![]), "asked for a file"),
    ] {
        let refused = fetch(&mut Liar(answer), Bounds::REMOTE).await.unwrap_err().to_string();
        assert!(refused.contains(error), "{refused}");
    }
    // Nested beyond what any reader follows.
    let mut nested: Vec<u8> = Vec::new();
    for _ in 0..10_000 {
        let mut outer = vec![0x1a];
        let mut length = nested.len();
        while length > 0x7f {
            outer.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend(&nested);
        nested = outer;
    }
    nested[0] = 0x22;
    let refused = fetch(&mut Liar(Answer::Files(vec![nested.into()])), Bounds::REMOTE).await.unwrap_err();
    assert_eq!(refused.to_string(), "the schema is over the bound of 32 messages within messages");
}

#[test]
fn every_rpc_of_the_four_systems_has_its_method() {
    let mut methods = 0;
    for set in [descriptors::BINDU, descriptors::OPENASTRA, descriptors::SEAL, descriptors::SHANNON] {
        let mut collection = Collection::new(Bounds::REMOTE);
        collection.add_set(set).unwrap();
        let schema = collection.finish().unwrap();
        assert!(schema.problems().is_empty());
        let services: Vec<_> = schema.services().map(str::to_owned).collect();
        for service in services {
            for name in schema.methods(&service) {
                let method = schema.method(&service, name).unwrap();
                assert!(schema.request_from_json(method, "{}").unwrap().is_empty());
                methods += 1;
            }
        }
    }
    assert_eq!(methods, 47);
}

#[tokio::test(start_paused = true)]
async fn names_are_names() {
    let long = "p".repeat(600);
    for (package, name) in
        [(".a", "R"), ("a", ".R"), ("a", "R.S"), ("a..b", "R"), ("a", ""), ("a", "R\u{0}"), (&*long, "R")]
    {
        let mut server = Server::default();
        server.add(file("a.proto", "ok", vec![message("Q", vec![])]));
        let bad = FileDescriptorProto { service: Vec::new(), ..file("b.proto", package, vec![message(name, vec![])]) };
        server.files.insert("b.proto".into(), bad);
        let importer = server.files.get_mut("a.proto").unwrap();
        importer.dependency.push("b.proto".into());
        let error = refused(server).await;
        assert!(error.contains("is no name"), "{package} {name:?}: {error}");
    }
    let mut server = Server::default();
    server.add(file("a.proto", "a", vec![message("R", vec![field("t", 1, "..a.T")])]));
    assert!(refused(server).await.contains("is no name"));
    for (name, extendee) in [("x", "..a.T"), (".x", ".a.R")] {
        let mut extended = file("a.proto", "a", vec![message("R", vec![])]);
        extended.extension = vec![FieldDescriptorProto { extendee: Some(extendee.into()), ..field(name, 100, "") }];
        let mut server = Server::default();
        server.add(extended);
        assert!(refused(server).await.contains("is no name"), "{name} of {extendee}");
    }
}

/// protobufjs, and with it the reflection of Node, writes names without a leading dot.
#[tokio::test(start_paused = true)]
async fn names_within_a_scope_mean_the_innermost() {
    let mut inner =
        message("R", vec![field("t", 1, "T"), field("u", 2, "b.U"), field("v", 3, "R.V"), field("w", 4, "W")]);
    inner.nested_type = vec![message("V", vec![field("x", 1, "")]), message("T", vec![field("inner", 1, "")])];
    let mut one = file("one.proto", "a.b", vec![inner, message("T", vec![field("outer", 1, "")])]);
    one.service[0].method[0].input_type = Some("R".into());
    let mut server = Server::default();
    server.add(importing(one, &["two.proto"]));
    let two = file("two.proto", "a.b", vec![message("U", vec![field("y", 1, "")])]);
    server.add(FileDescriptorProto { service: Vec::new(), ..two });
    // What is broken elsewhere changes nothing of it.
    server.add(file("bad.proto", "bad", vec![message("R", vec![field("x", 1, ""), field("y", 1, "")])]));
    let schema = get(server).await;
    let method = schema.method("a.b.S", "M").unwrap();
    let json = r#"{"t":{"inner":"1"},"u":{"y":"2"},"v":{"x":"3"}}"#;
    let wire = schema.request_from_json(method, json).unwrap();
    assert_eq!(schema.response_to_json(method, &wire).unwrap(), json);
    assert!(
        schema.problems().iter().any(|problem| problem.starts_with("a.b.W is not defined")),
        "{:?}",
        schema.problems()
    );
}

#[tokio::test(start_paused = true)]
async fn well_known_types_under_another_path_are_ours() {
    let mut server = Server::default();
    let stamp = field("at", 1, ".google.protobuf.Timestamp");
    server.add(importing(file("a.proto", "a", vec![message("R", vec![stamp])]), &["third_party/timestamp.proto"]));
    let theirs =
        file("third_party/timestamp.proto", "google.protobuf", vec![message("Timestamp", vec![field("s", 1, "")])]);
    server.files.insert("third_party/timestamp.proto".into(), FileDescriptorProto { service: Vec::new(), ..theirs });
    let schema = get(server).await;
    let method = schema.method("a.S", "M").unwrap();
    let json = r#"{"at":"2026-11-28T00:00:00Z"}"#;
    let wire = schema.request_from_json(method, json).unwrap();
    assert_eq!(schema.response_to_json(method, &wire).unwrap(), json);
    assert!(schema.problems().is_empty(), "{:?}", schema.problems());
}

#[tokio::test(start_paused = true)]
async fn a_set_has_each_file_once_and_behind_its_imports() {
    let mut server = Server::default();
    let any = "google/protobuf/any.proto";
    server.add(importing(
        file("a.proto", "a", vec![message("R", vec![field("t", 1, ".b.T")])]),
        &["b.proto", any, any, any],
    ));
    server.add(FileDescriptorProto { service: Vec::new(), ..file("b.proto", "b", vec![message("T", vec![])]) });
    let set: FileDescriptorSet = DecodeOptions::new().decode_from_slice(&get(server).await.to_set()).unwrap();
    let names: Vec<_> = set.file.iter().filter_map(|file| file.name.as_deref()).collect();
    assert_eq!(names.len(), 3);
    let at = |name: &str| names.iter().position(|known| *known == name).unwrap();
    assert!(at("b.proto") < at("a.proto") && at(any) < at("a.proto"), "{names:?}");
}

/// Sends everything along with every answer, as grpc-java does.
#[tokio::test(start_paused = true)]
async fn what_comes_again_counts_little() {
    let mut server = Server { whole: true, ..Server::default() };
    let fat = DescriptorProto { reserved_name: vec!["x".repeat(1 << 20)], ..message("T", vec![]) };
    server.add(FileDescriptorProto { service: Vec::new(), ..file("fat.proto", "fat", vec![fat]) });
    for at in 0..100 {
        let user = file(&format!("{at}.proto"), &format!("p{at}"), vec![message("R", vec![field("t", 1, ".fat.T")])]);
        server.add(importing(user, &["fat.proto"]));
    }
    assert_eq!(get(server).await.services().count(), 100);
}
