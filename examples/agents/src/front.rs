//! What stands before every service of a backend: finds the service by path, counts the call, and does what the handle
//! or the caller's metadata asks for (pause, failure, echo of metadata). Knows nothing of what the services mean.
//!
//! Metadata knobs: `x-delay-ms`; `x-fail` (status number), `x-fail-message`, `x-fail-details` (bytes of details);
//! `x-echo-*` (to headers, and to trailers as `x-echo-trailer-*`); `x-call-id`. stream.rs has those of streams.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::handle::{Handle, OpenCall};

const ECHO: &str = "x-echo-";
const ECHO_TRAILER: &str = "x-echo-trailer-";
/// More would not pass as a header list anywhere.
const DETAILS_BYTES: usize = 256 * 1024;

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;
type Serve = Box<dyn Fn(Request<Body>) -> Answer + Send + Sync>;

/// The services of one backend behind its handle.
#[derive(Clone)]
pub(crate) struct Front {
    services: Arc<BTreeMap<&'static str, Serve>>,
    handle: Handle,
}

/// Collects services; `Front` is complete once it runs.
pub(crate) struct Services(BTreeMap<&'static str, Serve>);

impl Services {
    pub(crate) fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(crate) fn add<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + NamedService,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        // tonic's generated services are always ready; a clone is an Arc.
        self.0.insert(S::NAME, Box::new(move |request| Box::pin(service.clone().call(request))));
        self
    }

    pub(crate) fn behind(self, handle: &Handle) -> Front {
        Front { services: Arc::new(self.0), handle: handle.clone() }
    }
}

impl Service<Request<Body>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let front = self.clone();
        Box::pin(async move { Ok(front.serve(request).await) })
    }
}

impl Front {
    async fn serve(self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        // Time, failures and counters are for work; a probe only ever hangs.
        if path.starts_with("/grpc.") || path.ends_with("/HealthCheck") {
            self.handle.count_probe();
            self.handle.unheld().await;
            return self.dispatch(request).await;
        }
        let (open, number) = self.handle.count(path, text(request.headers(), "x-call-id"));
        let echoes = Echoes::of(request.headers());
        let pause = self.handle.delay()
            + number_of(request.headers(), "x-delay-ms").map_or(Duration::ZERO, Duration::from_millis);
        self.handle.unheld().await;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let failure = requested_failure(request.headers()).or_else(|| {
            let code = self.handle.failure(number)?;
            Some(failure(code, &format!("told to fail a share of calls, and call {number} is one of them"), 0))
        });
        let response = match failure {
            Some(status) => status.into_http(),
            None => self.dispatch(request).await,
        };
        watch(response, open, echoes)
    }

    async fn dispatch(&self, request: Request<Body>) -> Response<Body> {
        let mut parts = request.uri().path().splitn(3, '/');
        let service = parts.nth(1).unwrap_or_default();
        match self.services.get(service) {
            Some(serve) => match serve(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            None => Status::unimplemented(format!("this backend has no service `{service}`")).into_http(),
        }
    }
}

/// The caller's metadata to give back.
struct Echoes {
    headers: HeaderMap,
    trailers: HeaderMap,
}

impl Echoes {
    fn of(headers: &HeaderMap) -> Self {
        let mut echoes = Self { headers: HeaderMap::new(), trailers: HeaderMap::new() };
        for (name, value) in headers {
            let Some(rest) = name.as_str().strip_prefix(ECHO) else { continue };
            echoes.headers.append(name.clone(), value.clone());
            if let Ok(name) = HeaderName::try_from(format!("{ECHO_TRAILER}{rest}")) {
                echoes.trailers.append(name, value.clone());
            }
        }
        echoes
    }
}

fn requested_failure(headers: &HeaderMap) -> Option<Status> {
    let code = number_of(headers, "x-fail")?;
    let code = Code::from_i32(i32::try_from(code).unwrap_or(i32::MAX));
    // Not ASCII on purpose: messages are percent-encoded on the wire, and that must survive a proxy.
    let message = text(headers, "x-fail-message").map_or_else(|| format!("✗ x-fail asked for {code:?}"), str::to_owned);
    let bytes = number_of(headers, "x-fail-details").map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX));
    Some(failure(code, &message, bytes.min(DETAILS_BYTES)))
}

/// A status with `google.rpc` details, at least `bytes` long if that is not 0.
pub(crate) fn failure(code: Code, message: &str, bytes: usize) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("sample_failure", "agents.portunus.test", [("code".to_owned(), (code as i32).to_string())]);
    if bytes > 0 {
        details.set_debug_info(Vec::<String>::new(), "d".repeat(bytes));
    }
    Status::with_error_details(code, message, details)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A whole number in a header; anything else counts as absent.
pub(crate) fn number_of(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

fn watch(response: Response<Body>, mut open: OpenCall, echoes: Echoes) -> Response<Body> {
    let (mut parts, inner) = response.into_parts();
    append(&mut parts.headers, echoes.headers);
    if inner.is_end_stream() {
        // Trailers-Only: the head is the trailers.
        append(&mut parts.headers, echoes.trailers);
        open.complete();
        return Response::from_parts(parts, inner);
    }
    Response::from_parts(parts, Body::new(Watched { inner, open: Some(open), trailers: echoes.trailers }))
}

fn append(to: &mut HeaderMap, from: HeaderMap) {
    let mut last = None;
    for (name, value) in from {
        // A repeated name comes once, then its further values come without.
        last = name.or(last);
        if let Some(name) = &last {
            to.append(name.clone(), value);
        }
    }
}

/// A response body that says when it is complete, and adds trailers.
struct Watched {
    inner: Body,
    open: Option<OpenCall>,
    trailers: HeaderMap,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else { return Poll::Pending };
        let frame = frame.map(|frame| {
            frame.map(|frame| match frame.into_trailers() {
                Ok(mut trailers) => {
                    append(&mut trailers, std::mem::take(&mut this.trailers));
                    if let Some(mut open) = this.open.take() {
                        open.complete();
                    }
                    Frame::trailers(trailers)
                }
                Err(data) => data,
            })
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
