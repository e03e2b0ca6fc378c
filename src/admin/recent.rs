//! Answers that are a moment old, for the address that anybody may ask: however often strangers do, the work behind an answer is done
//! a few times a second, and the control runtime stays free for what else it has to do.

use std::time::Duration;

use http::request::Parts;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::metrics::prefers_open_metrics;
use super::reply::Reply;

/// How old an answer may be. Supervisors ask every second at most.
const FRESH: Duration = Duration::from_millis(250);

/// The last answer of each endpoint, in each form.
#[derive(Default)]
pub(super) struct Recent(Mutex<Vec<Kept>>);

struct Kept {
    what: What,
    at: Instant,
    reply: Reply,
}

/// The endpoint, and whether OpenMetrics is asked for: nothing else of a request makes a difference.
type What = (&'static str, bool);

impl Recent {
    /// The answer of an endpoint, made anew if the last one is too old.
    pub(super) fn or_make(&self, path: &'static str, request: &Parts, make: impl FnOnce() -> Reply) -> Reply {
        let what = (path, prefers_open_metrics(&request.headers));
        // Made under the lock: there is one thread that asks, and no two are to do the same work.
        let mut all = self.0.lock();
        let last = all.iter_mut().find(|kept| kept.what == what);
        if let Some(last) = &last
            && last.at.elapsed() < FRESH
        {
            return last.reply.clone();
        }
        let reply = make();
        let kept = Kept { what, at: Instant::now(), reply: reply.clone() };
        match last {
            Some(last) => *last = kept,
            None => all.push(kept),
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use http::{Request, StatusCode};

    use super::*;
    use crate::admin::reply::json;

    #[tokio::test(start_paused = true)]
    async fn the_work_is_done_a_few_times_a_second() {
        let (recent, made) = (Recent::default(), Cell::new(0));
        let ask = |path: &'static str, accept: &str| {
            let (request, ()) = Request::builder().header("accept", accept).body(()).unwrap().into_parts();
            recent.or_make(path, &request, || {
                made.set(made.get() + 1);
                json(StatusCode::OK, &made.get())
            });
            made.get()
        };
        assert_eq!([ask("/ready", ""), ask("/ready", "text/html"), ask("/ready", "")], [1, 1, 1]);
        assert_eq!([ask("/metrics", ""), ask("/metrics", "application/openmetrics-text")], [2, 3]);
        assert_eq!([ask("/metrics", ""), ask("/ready", "")], [3, 3]);
        tokio::time::advance(FRESH).await;
        assert_eq!([ask("/ready", ""), ask("/ready", ""), ask("/metrics", "")], [4, 4, 5]);
    }
}
