//! The threads that carry calls: one runtime each, so that nothing of a call is ever moved or locked between threads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use super::StartError;
use crate::call::{Shared, Worker};
use crate::edge::{self, Accepted, Deal};
use crate::upstream::Tcp;

/// Connections that wait for a busy worker to take them over.
const QUEUE: usize = 1_024;

/// What the threads are to do.
#[derive(Clone, Copy, Debug)]
enum Order {
    Carry,
    DismissRegistrars,
    EndCalls,
    Stop,
}

/// All workers.
pub(super) struct Workers {
    deals: Vec<Deal>,
    threads: Vec<JoinHandle<()>>,
    order: watch::Sender<Order>,
}

impl Workers {
    /// Starts `count` threads.
    pub(super) fn start(count: usize, shared: &Arc<Shared>) -> Result<Self, StartError> {
        let (order, orders) = watch::channel(Order::Carry);
        let mut workers = Self { deals: Vec::new(), threads: Vec::new(), order };
        for index in 0..count {
            let (queue, accepted) = mpsc::channel(QUEUE);
            workers.deals.push(Deal { queue, open: Arc::new(AtomicUsize::new(0)) });
            let worker = Worker::new(Arc::clone(shared), Arc::new(Tcp));
            let orders = orders.clone();
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            let thread = thread.spawn(move || carry(worker, accepted, orders));
            workers
                .threads
                .push(thread.map_err(|error| StartError::System(format!("a worker cannot start: {error}")))?);
        }
        Ok(workers)
    }

    /// Where connections are dealt to.
    pub(super) fn deals(&self) -> Vec<Deal> {
        self.deals.clone()
    }

    /// Says goodbye to those who register.
    pub(super) fn dismiss_registrars(&self) {
        self.order.send_replace(Order::DismissRegistrars);
    }

    /// Says it to none any more.
    pub(super) fn go_on(&self) {
        self.order.send_replace(Order::Carry);
    }

    /// Ends calls that are open, and those that come from now on, in words.
    pub(super) fn end_calls(&self) {
        self.order.send_replace(Order::EndCalls);
    }

    /// Ends the threads and what they still carry.
    pub(super) async fn stop(mut self) {
        self.order.send_replace(Order::Stop);
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        drop(joined.await);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.order.send_replace(Order::Stop);
    }
}

fn carry(worker: Arc<Worker>, mut accepted: mpsc::Receiver<Accepted>, mut orders: watch::Receiver<Order>) {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "a worker has no runtime; its connections will be closed"),
    };
    runtime.block_on(async {
        // A task of its own: what runs in `block_on` itself is polled at every wake-up of the thread.
        let kept = Arc::clone(&worker);
        tokio::spawn(async move {
            // A filter that panics where a call has run out of time must not take everybody's deadlines with it.
            while tokio::spawn(Arc::clone(&kept).keep()).await.is_err() {
                tracing::error!("a worker's clock stopped over a panic; it goes on");
            }
        });
        let carrying = Arc::clone(&worker);
        let taking = tokio::spawn(async move {
            while let Some(connection) = accepted.recv().await {
                tokio::spawn(edge::drive(Arc::clone(&carrying), connection));
            }
        });
        // An error means that whoever would stop us is gone, which is the same.
        while orders.changed().await.is_ok() {
            let order = *orders.borrow_and_update();
            match order {
                Order::Carry => {}
                Order::DismissRegistrars => worker.dismiss_registrars(),
                Order::EndCalls => worker.end_calls(),
                Order::Stop => break,
            }
        }
        taking.abort();
    });
    // Tasks that are left are dropped with the runtime; nothing blocks in them.
    runtime.shutdown_background();
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
