//! Whom requests go to: [`Upstreams`].

use std::{
    fmt,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
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
    /// How many looks in a row found it ill.
    ill: AtomicU32,
}

/// So many looks in a row have to find an upstream ill before it is left out. One alone may be the
/// moment's: a full backlog, no descriptor to be had here.
const ILL: u32 = 3;

impl Upstream {
    fn is_healthy(&self) -> bool {
        // Relaxed: nothing else is read after it.
        self.ill.load(Ordering::Relaxed) < ILL
    }

    /// What a look has found. There is one at a time.
    fn looked(&self, is_healthy: bool) {
        let ill = if is_healthy {
            0
        } else {
            (self.ill.load(Ordering::Relaxed) + 1).min(ILL)
        };
        self.ill.store(ill, Ordering::Relaxed);
    }
}

impl Upstreams {
    pub(crate) fn new(authorities: Vec<String>) -> Self {
        let upstream = |authority| Upstream {
            authority,
            ill: AtomicU32::new(0),
        };
        Self {
            all: authorities.into_iter().map(upstream).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// In turn, of those that are healthy.
    pub(crate) fn next(&self) -> Option<&Upstream> {
        // Relaxed: about in turn is good enough.
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let turn = (0..self.all.len()).map(|i| &self.all[(first + i) % self.all.len()]);
        turn.into_iter().find(|one| one.is_healthy())
    }

    /// Looks at each of them again and again.
    pub(crate) async fn check<R: Runtime>(&self, runtime: &R, every: Duration, path: Option<&str>) {
        loop {
            // All at once: one that does not answer is not to hide what becomes of the others.
            let looks = self.all.iter().map(async |upstream| {
                let look = is_healthy(runtime, &upstream.authority, path);
                upstream.looked(runtime.timeout(every, look).await.unwrap_or(false));
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
            let is_healthy = u8::from(upstream.is_healthy());
            let name = &upstream.authority;
            writeln!(
                f,
                "gateway_upstream_healthy{{upstream={name:?}}} {is_healthy}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_look_leaves_nobody_out_and_one_good_look_takes_back_in() {
        let upstreams = Upstreams::new(vec!["a:1".to_owned()]);
        for is_healthy in [false, false, true, false, false] {
            upstreams.all[0].looked(is_healthy);
            assert!(upstreams.next().is_some());
        }
        upstreams.all[0].looked(false);
        assert!(upstreams.next().is_none());
        upstreams.all[0].looked(false);
        upstreams.all[0].looked(true);
        assert!(upstreams.next().is_some());
    }
}
