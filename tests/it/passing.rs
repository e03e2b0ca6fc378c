//! Whatever a call is made of goes through filters in order and whole (FIELD.md T17): random messages, random pieces,
//! random trailers, all four kinds.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

use crate::harness::{Ask, Caller, Got, PATIENCE, Setup, TestProxy, Upstream, fields};

/// What one call carries in one direction.
#[derive(Clone, Debug, Default, PartialEq)]
struct Half {
    bytes: Vec<u8>,
    pieces: Vec<usize>,
}

/// A call as it was made up.
#[derive(Clone, Debug)]
struct Plan {
    up: Half,
    down: Half,
    trailers: Vec<(String, String)>,
}

impl Half {
    fn random(rng: &mut SmallRng, messages: usize) -> Self {
        let mut bytes = Vec::new();
        for _ in 0..messages {
            let size = if rng.random_bool(0.2) { 0 } else { (1 << rng.random_range(0..15)) + rng.random_range(0..7) };
            bytes.push(u8::from(rng.random_bool(0.3)));
            bytes.extend_from_slice(&u32::try_from(size).unwrap().to_be_bytes());
            let begin = bytes.len();
            bytes.resize(begin + size, 0);
            rng.fill_bytes(&mut bytes[begin..]);
        }
        let (mut pieces, mut left) = (Vec::new(), bytes.len());
        while left > 0 {
            let piece = (1 << rng.random_range(0..14)).min(left);
            pieces.push(piece);
            left -= piece;
        }
        Self { bytes, pieces }
    }

    fn cut(&self) -> Vec<Bytes> {
        let mut rest = Bytes::from(self.bytes.clone());
        self.pieces.iter().map(|piece| rest.split_to(*piece)).collect()
    }
}

impl Plan {
    fn random(rng: &mut SmallRng, method: &str) -> Self {
        let many = |rng: &mut SmallRng| rng.random_range(0..12);
        let (up, down) = match method {
            "Unary" => (1, 1),
            "ServerStream" => (1, many(rng)),
            "ClientStream" => (many(rng), 1),
            _ => (many(rng), many(rng)),
        };
        let (up, down) = (Half::random(rng, up), Half::random(rng, down));
        let mut trailers = vec![("grpc-status".to_owned(), rng.random_range(0..17u8).to_string())];
        for _ in 0..rng.random_range(0..6) {
            let name = ["x-a", "x-b", "x-c-bin", "grpc-message"][rng.random_range(0..4)];
            trailers
                .push((name.to_owned(), ["", "AA", "AA==", "%E2%9C%97", "two words"][rng.random_range(0..5)].into()));
        }
        Self { up, down, trailers }
    }

    fn trailers(&self) -> HeaderMap {
        let list: Vec<_> = self.trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        fields(&list)
    }
}

type Plans = Arc<Mutex<HashMap<String, Plan>>>;

/// Answers each call as planned, and checks that it came as planned. `Bidi` answers while it reads.
async fn upstream(plans: Plans) -> Upstream {
    Upstream::start(move |mut got: Got| {
        let plan = plans.lock().get(got.field("x-plan").unwrap()).unwrap().clone();
        async move {
            let mut stream = if got.head.uri.path().ends_with("Bidi") { Some(got.begin()) } else { None };
            let pieces = plan.down.cut();
            let (early, late) = pieces.split_at(if stream.is_some() { pieces.len() / 2 } else { 0 });
            if let Some(stream) = &mut stream {
                early.iter().for_each(|piece| stream.send_data(piece.clone(), false).unwrap());
            }
            let came = got.read().await.unwrap();
            let mut stream = stream.unwrap_or_else(|| got.begin());
            let mut trailers = plan.trailers();
            if came != plan.up.bytes {
                trailers.insert("x-request-differs", "1".parse().unwrap());
            }
            late.iter().for_each(|piece| stream.send_data(piece.clone(), false).unwrap());
            stream.send_trailers(trailers).unwrap();
        }
    })
    .await
}

async fn call(caller: &Caller, method: &str, id: &str, plan: &Plan) {
    let mut open = caller.open(Ask::echo(method).with("x-plan", id).with("x-seen", "1")).await;
    let pieces = plan.up.cut();
    let last = pieces.len();
    for (at, piece) in pieces.into_iter().enumerate() {
        open.up.send_data(piece, at + 1 == last).unwrap();
        if at % 3 == 0 {
            // Some pieces meet in one write, others do not.
            tokio::task::yield_now().await;
        }
    }
    if last == 0 {
        open.finish(Bytes::new());
    }
    let answer = tokio::time::timeout(PATIENCE, open.answer()).await.unwrap_or_else(|_| panic!("{method} {id} hangs"));
    assert!(answer.broken.is_none() && !answer.only_head, "{method} {id}: {answer:?}");
    assert!(answer.bytes == plan.down.bytes, "{method} {id}: the answer's bytes differ");
    assert_eq!(answer.trailers, plan.trailers(), "{method} {id}");
}

#[tokio::test]
async fn t17_any_call_goes_through_filters_in_order_and_whole() {
    let plans: Plans = Arc::default();
    let upstream = upstream(Arc::clone(&plans)).await;
    let chains = [
        "",
        "filters: [{metadata: {set: {x-seen: yes}, response: {set: {x-via: p}}}}]",
        "filters: [{limits: {message: 1MiB, response_message: 1MiB, messages: 1000, idle: 30s, duration: 60s}}]",
        "filters: [{limits: {messages: 500}}, {metadata: {remove: [x-seen]}}, {limits: {message: 64KiB}}, \
         {metadata: {response: {remove: [server]}}}]",
    ];
    for (index, chain) in chains.into_iter().enumerate() {
        let proxy = TestProxy::with(&[upstream.address()], Setup { route: chain, ..Setup::default() }).await;
        let caller = proxy.caller().await;
        for method in ["Unary", "ServerStream", "ClientStream", "Bidi"] {
            let seed = index as u64 * 1_000;
            let calls = (seed..seed + 25).map(|seed| {
                let plan = Plan::random(&mut SmallRng::seed_from_u64(seed), method);
                let id = format!("{method}-{seed}");
                plans.lock().insert(id.clone(), plan.clone());
                let caller = &caller;
                async move { call(caller, method, &id, &plan).await }
            });
            futures_util::future::join_all(calls).await;
        }
        let sent: f64 = proxy.metric("grpc_server_handled_total", &[]).await;
        assert_eq!((sent, proxy.metric("portunus_refused_total", &[]).await), (100.0, 0.0), "{chain}");
    }
}
