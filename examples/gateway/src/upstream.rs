//! The targets of requests: [`Upstreams`].

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
    /// How many checks in a row have failed.
    ill: AtomicU32,
}

/// How many checks in a row must fail before an upstream is left out. A single failure may be
/// temporary: a full backlog, or no free descriptor here.
const ILL: u32 = 3;

impl Upstream {
    fn is_healthy(&self) -> bool {
        // Relaxed: no other read depends on it.
        self.ill.load(Ordering::Relaxed) < ILL
    }

    /// Records the result of a check. There is one check at a time.
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

    /// For the attempts of one request.
    pub(crate) fn turns(&self) -> Turns<'_> {
        // Relaxed: an approximate turn is enough.
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        Turns {
            all: &self.all,
            first,
        }
    }

    /// Checks each of them repeatedly.
    pub(crate) async fn check<R: Runtime>(&self, runtime: &R, every: Duration, path: Option<&str>) {
        loop {
            // All at once: an upstream that does not answer must not delay the checks of the
            // others.
            let looks = self.all.iter().map(async |upstream| {
                let look = is_healthy(runtime, &upstream.authority, path);
                upstream.looked(runtime.timeout(every, look).await.unwrap_or(false));
            });
            join_all(looks).await;
            runtime.sleep(every).await;
        }
    }
}

/// The upstreams for one request: the healthy ones in turn, again and again. The turn is the request's
/// own, so a further attempt goes to another upstream, whatever other requests do meanwhile.
pub(crate) struct Turns<'a> {
    all: &'a [Upstream],
    first: usize,
}

impl<'a> Turns<'a> {
    /// The upstream for the next attempt. `None` if none is healthy.
    pub(crate) fn next(&mut self) -> Option<&'a Upstream> {
        for _ in self.all {
            let one = &self.all[self.first % self.all.len()];
            self.first = self.first.wrapping_add(1);
            if one.is_healthy() {
                return Some(one);
            }
        }
        None
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
    // A separate client, so that the connection is new.
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
            assert!(upstreams.turns().next().is_some());
        }
        upstreams.all[0].looked(false);
        assert!(upstreams.turns().next().is_none());
        upstreams.all[0].looked(false);
        upstreams.all[0].looked(true);
        assert!(upstreams.turns().next().is_some());
    }

    #[test]
    fn the_attempts_of_a_request_go_round_whatever_others_do() {
        let upstreams = Upstreams::new(["a:1", "b:1", "c:1"].map(str::to_owned).into());
        (0..ILL).for_each(|_| upstreams.all[1].looked(false));
        let mut turns = upstreams.turns();
        let attempts = [(); 4].map(|()| {
            let _another = upstreams.turns();
            turns.next().unwrap().authority.as_str()
        });
        assert_eq!(attempts, ["a:1", "c:1", "a:1", "c:1"]);
        assert!(Upstreams::new(Vec::new()).turns().next().is_none());
    }
}
