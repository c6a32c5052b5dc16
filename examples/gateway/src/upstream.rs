//! Whom requests go to: [`Upstreams`].

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use fourway_core::{Runtime, cancel::CancellationToken};
use fourway_net::Net;

#[derive(Debug)]
pub(crate) struct Upstreams {
    all: Vec<Upstream>,
    next: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Upstream {
    /// `HOST:PORT`.
    pub(crate) authority: String,
    is_healthy: AtomicBool,
}

impl Upstreams {
    pub(crate) fn new(authorities: Vec<String>) -> Self {
        let upstream = |authority| Upstream {
            authority,
            is_healthy: AtomicBool::new(true),
        };
        Self {
            all: authorities.into_iter().map(upstream).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// In turn, of those that were healthy when they were last looked at.
    pub(crate) fn next(&self) -> Option<&Upstream> {
        // Relaxed: about in turn is good enough.
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let turn = (0..self.all.len()).map(|i| &self.all[(first + i) % self.all.len()]);
        turn.into_iter()
            .find(|one| one.is_healthy.load(Ordering::Relaxed))
    }

    /// Looks at each of them again and again, until `stop`: can it be connected to?
    pub(crate) async fn check<R: Runtime>(
        &self,
        runtime: &R,
        every: Duration,
        stop: &CancellationToken,
    ) {
        let looking = async {
            loop {
                for upstream in &self.all {
                    let connect = runtime.connect_tcp(&*upstream.authority);
                    let is_healthy = connect.timeout(every).await.is_ok();
                    upstream.is_healthy.store(is_healthy, Ordering::Relaxed);
                }
                runtime.sleep(every).await;
            }
        };
        let _ = stop.run_until_cancelled(looking).await;
    }
}
