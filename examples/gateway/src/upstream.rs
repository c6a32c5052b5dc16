//! Whom requests go to: [`Upstreams`].

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use fourway_core::Runtime;
use fourway_net::Net;
use futures_util::future::join_all;
use http_body_util::Empty;
use hyper::body::Bytes;

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

    /// Looks at each of them again and again.
    pub(crate) async fn check<R: Runtime>(&self, runtime: &R, every: Duration, path: Option<&str>) {
        loop {
            // All at once: one that does not answer is not to hide what becomes of the others.
            let looks = self.all.iter().map(async |upstream| {
                let look = is_healthy(runtime, &upstream.authority, path);
                let is_healthy = runtime.timeout(every, look).await.unwrap_or(false);
                upstream.is_healthy.store(is_healthy, Ordering::Relaxed);
            });
            join_all(looks).await;
            runtime.sleep(every).await;
        }
    }
}

/// Does it answer at `path` with success? Without a path: can it be connected to?
async fn is_healthy<R: Runtime>(runtime: &R, authority: &str, path: Option<&str>) -> bool {
    let Some(path) = path else {
        return runtime.connect_tcp(authority).await.is_ok();
    };
    let Ok(uri) = format!("http://{authority}{path}").parse() else {
        return false;
    };
    // A client of its own, so that it is a new connection.
    let answer = fourway_hyper::client::<_, Empty<Bytes>>(runtime).get(uri);
    answer
        .await
        .is_ok_and(|answer| answer.status().is_success())
}

/// As Prometheus reads it.
impl fmt::Display for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# TYPE gateway_upstream_healthy gauge")?;
        for upstream in &self.all {
            let is_healthy = u8::from(upstream.is_healthy.load(Ordering::Relaxed));
            let name = &upstream.authority;
            writeln!(
                f,
                "gateway_upstream_healthy{{upstream={name:?}}} {is_healthy}"
            )?;
        }
        Ok(())
    }
}
