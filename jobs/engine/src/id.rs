//! Ids for jobs across processes: [`next_id`].

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    process,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use fastrand::Rng;
use fourway_adapt::fork::PerProcess;
use fourway_jobs::JobId;

/// The bits below the time.
const RANDOM_BITS: u32 = 80;

/// A new id: the time, and 80 bits by chance.
///
/// The ids of one process are in the order of their creation: within a millisecond, or while the
/// clock is behind, each is a little greater than the previous one.
#[must_use]
pub fn next_id() -> JobId {
    // A forked child begins anew: it would make the same ids as its siblings, and another thread
    // of the parent may have held the lock.
    static IDS: PerProcess<Mutex<Ids>> = PerProcess::new();

    let ids = IDS.get_or_init(|| Mutex::new(Ids::new()));
    ids.lock().unwrap_or_else(PoisonError::into_inner).next()
}

struct Ids {
    last: u128,
    rng: Rng,
}

impl Ids {
    fn new() -> Self {
        // The thread's generator alone would be the same in siblings, as `fork` copies it.
        let mut seed = DefaultHasher::new();
        (process::id(), since_1970(), fastrand::u64(..)).hash(&mut seed);
        Self {
            last: 0,
            rng: Rng::with_seed(seed.finish()),
        }
    }

    fn next(&mut self) -> JobId {
        let millis = since_1970() / 1_000_000;
        let chance = self.rng.u128(..) >> (128 - RANDOM_BITS);
        // The top bit stays clear, so that there is room to count up within the millisecond.
        let fresh = (millis << RANDOM_BITS) | (chance >> 1);
        self.last = if fresh >> RANDOM_BITS > self.last >> RANDOM_BITS {
            fresh
        } else {
            self.last + 1 + u128::from(self.rng.u32(..))
        };
        JobId::from_bytes(self.last.to_be_bytes())
    }
}

/// The clock, in nanoseconds.
fn since_1970() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
}
