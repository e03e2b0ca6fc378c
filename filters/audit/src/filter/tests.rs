use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use filter_api::{Code, Depth, Keep, Reason};
use filter_testkit::Bench;
use serde_json::{Value, json};

use super::Audit;
use crate::files::{Files, KEPT_AS};
use crate::scratch::Scratch;

/// A filter with a file of its own.
struct Site {
    folder: Scratch,
    keep: Keep,
}

impl Site {
    fn new(name: &str) -> Self {
        Self { folder: Scratch::new(&format!("filter-{name}")), keep: Keep::default() }
    }

    fn build(&self, mut config: Value) -> Result<Bench, String> {
        config["file"] = self.folder.join("audit.jsonl").to_str().unwrap().into();
        Bench::build_keeping::<Audit>(config, &self.keep).map_err(|error| error.to_string())
    }

    fn files(&self) -> Arc<Files> {
        self.keep.find::<Files>(KEPT_AS).unwrap()
    }

    /// What was written, without what makes a chain of it.
    fn written(&self) -> Vec<Value> {
        assert!(self.files().close(Duration::from_secs(10)));
        let text = fs::read_to_string(self.folder.join("audit.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let without = |mut line: Value| {
            for name in ["n", "prev", "time", "hash", "hmac", "pid", "duration_ms"] {
                line.as_object_mut().unwrap().remove(name);
            }
            line
        };
        lines.map(without).collect()
    }
}

#[tokio::test]
async fn a_call_has_its_lines() {
    let site = Site::new("lines");
    let bench = site.build(json!({"fields": ["tenant"], "sync": "each"})).unwrap();
    assert_eq!(bench.reads().request, Depth::Bodies);
    site.files().open().unwrap();
    let mut call = bench.call_in_time(&[("x-request-id", "r-1")]).await.unwrap();
    assert!(call.request_body(b"tenant=acme secret=s").unwrap().is_none());
    assert!(call.request_body(b"tenant=other").unwrap().is_none());
    call.end(Code::NotFound);
    let written = site.written();
    let id = written[1]["call"].clone();
    assert_eq!(
        written,
        [
            json!({"event": "open", "format": 1, "key": null}),
            json!({"event": "begin", "call": id, "listener": "test", "peer": "127.0.0.1", "service": "test.Service", "method": "Method",
                "handler": "grpc", "request_id": "r-1"}),
            json!({"event": "request", "call": id, "fields": {"tenant": "acme"}}),
            json!({"event": "end", "call": id, "code": "NOT_FOUND", "request_messages": 2, "response_messages": 0}),
            json!({"event": "stop"}),
        ]
    );
}

#[tokio::test]
async fn a_call_that_cannot_be_written_is_refused_or_goes_on_as_is_said() {
    let site = Site::new("deny");
    // Its file is never opened.
    let bench = site.build(json!({})).unwrap();
    let refusal = bench.call_in_time(&[]).await.err().unwrap();
    assert_eq!((refusal.code, refusal.reason), (Code::Unavailable, Reason::Audit));
    for sync in ["none", "each"] {
        let bench = site.build(json!({"on_failure": "allow", "sync": sync})).unwrap();
        bench.call_in_time(&[]).await.unwrap().end(Code::Ok);
    }
    assert_eq!(site.files().readings()[0].lost, 4, "what was not written is counted");
}

#[tokio::test]
async fn a_message_that_cannot_be_read_does_not_go_on_unread() {
    let site = Site::new("unread");
    let denies = site.build(json!({"fields": ["tenant"]})).unwrap();
    let allows = site.build(json!({"fields": ["tenant"], "on_failure": "allow"})).unwrap();
    site.files().open().unwrap();
    let mut call = denies.call_in_time(&[]).await.unwrap();
    assert_eq!(call.request_body(b"what?").unwrap_err().reason, Reason::Schema);
    call.end(Code::InvalidArgument);
    let mut call = allows.call_in_time(&[]).await.unwrap();
    call.request_body(b"what?").unwrap();
    call.end(Code::Ok);
    let unread: Vec<_> = site.written().into_iter().filter(|line| line["event"] == "request").collect();
    assert!(
        unread.len() == 2 && unread.iter().all(|line| line["unread"] == "the message cannot be read: it asks"),
        "{unread:?}"
    );
}

#[tokio::test]
async fn a_caller_that_leaves_while_its_call_is_written_is_written_too() {
    let site = Site::new("left");
    let bench = site.build(json!({})).unwrap();
    site.files().open().unwrap();
    let waiting = bench.call_in_time(&[]);
    {
        let mut waiting = Box::pin(waiting);
        let waker = std::task::Waker::noop();
        assert!(waiting.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
    }
    let written = site.written();
    assert_eq!(
        (&written[1]["event"], &written[2]["event"], &written[2]["left"]),
        (&json!("begin"), &json!("end"), &json!(true))
    );
    assert_eq!(written[1]["call"], written[2]["call"]);
}

#[test]
fn mistakes_are_told_when_it_is_built() {
    let site = Site::new("mistakes");
    let refused = |config| site.build(config).err().unwrap();
    for path in ["", "a..b", "*.a", "a b"] {
        assert!(refused(json!({"fields": [path]})).contains("is no path of a field"), "{path}");
    }
    assert!(refused(json!({"key_file": "/none"})).contains("`/none` cannot be read"));
    let file = site.folder.join("key");
    fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let path = file.to_str().unwrap();
    assert!(refused(json!({"key_file": path})).contains("mode 0644"));
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let bench = site.build(json!({"key_file": path})).unwrap();
    assert!(refused(json!({})).contains("with another key"));
    assert_eq!(bench.reads().request, Depth::Nothing);
    assert!(refused(json!({"sync": "always"})).contains("unknown variant"));
}
