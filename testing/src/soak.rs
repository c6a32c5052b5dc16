//! Loads on real threads, as long as one likes: [`soak`].

use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Runs `round` on each of `threads` threads, again and again for a second, or for as long as
/// `FOURWAY_SOAK_SECONDS` says. Ends the process if no round ends for a minute.
pub fn soak(name: &'static str, threads: usize, round: impl Fn(&Random) + Sync) {
    let seconds = std::env::var("FOURWAY_SOAK_SECONDS")
        .ok()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(1);
    let until = Instant::now() + Duration::from_secs(seconds);
    let rounds = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watchdog = scope.spawn(|| {
            let mut last = (0, Instant::now());
            while !over.load(Ordering::Acquire) {
                thread::park_timeout(Duration::from_millis(200));
                let now = rounds.load(Ordering::Relaxed);
                if now != last.0 {
                    last = (now, Instant::now());
                } else if last.1.elapsed() > Duration::from_secs(60) {
                    eprintln!("soak `{name}` stands still after {now} rounds");
                    std::process::exit(101);
                }
            }
        });
        let workers: Vec<_> = (0..threads)
            .map(|n| {
                let (rounds, round) = (&rounds, &round);
                scope.spawn(move || {
                    let random = Random(Cell::new(0x9e37_79b9_7f4a_7c15 ^ (n as u64 + 1)));
                    // One at least, however slow the machine is.
                    loop {
                        round(&random);
                        rounds.fetch_add(1, Ordering::Relaxed);
                        if Instant::now() >= until {
                            break;
                        }
                    }
                })
            })
            .collect();
        let failed = workers.into_iter().any(|worker| worker.join().is_err());
        over.store(true, Ordering::Release);
        watchdog.thread().unpark();
        assert!(!failed, "soak `{name}` failed, see above");
    });
}

/// A small generator of numbers (xorshift), one for each thread of a soak.
#[derive(Debug)]
pub struct Random(Cell<u64>);

impl Random {
    /// A number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        x % end
    }

    /// Gives the other threads a chance, or not.
    pub fn dawdle(&self) {
        match self.below(4) {
            0 => thread::yield_now(),
            1 => (0..self.below(500)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }
}
