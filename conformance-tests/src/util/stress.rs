//! The rounds of a stress case.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The rounds of a stress case, each with a random number: as many as the time allows, and the same
/// numbers for the same seed. `stream` distinguishes the threads of a case.
pub(crate) fn stress(stream: u64) -> impl Iterator<Item = u64> {
    fn number(name: &str) -> Option<u64> {
        std::env::var(name).ok()?.parse().ok()
    }
    let options = crate::Options::default();
    let seed = number(crate::run::SEED).unwrap_or(options.seed);
    let time = number(crate::run::STRESS).map_or(options.stress_time, Duration::from_millis);
    let start = Instant::now();
    // SplitMix64.
    let mut state = seed.wrapping_add(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let random = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    // At least one round, even without time.
    std::iter::repeat_with(random)
        .enumerate()
        .take_while(move |(round, _)| *round == 0 || start.elapsed() < time)
        .map(|(_, random)| {
            // Relaxed: read after the case's end, for the report.
            ROUNDS.fetch_add(1, Ordering::Relaxed);
            random
        })
}

static ROUNDS: AtomicU64 = AtomicU64::new(0);

/// The rounds begun since the last call, by all threads of a stress case.
pub(crate) fn take_rounds() -> u64 {
    ROUNDS.swap(0, Ordering::Relaxed)
}
