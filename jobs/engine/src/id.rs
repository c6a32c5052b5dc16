//! Ids for jobs across processes: [`next_id`].

use std::{
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use fourway_jobs::JobId;

/// The bits below the time.
const RANDOM_BITS: u32 = 80;

/// A new id: the time, and 80 bits by chance.
///
/// The ids of one process are in the order of their creation: within a millisecond, or while the
/// clock is behind, each is a little greater than the previous one.
#[must_use]
pub fn next_id() -> JobId {
    static LAST: Mutex<u128> = Mutex::new(0);

    let millis = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let chance = fastrand::u128(..) >> (128 - RANDOM_BITS);
    // The top bit stays clear, so that there is room to count up within the millisecond.
    let fresh = (millis << RANDOM_BITS) | (chance >> 1);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    *last = if fresh >> RANDOM_BITS > *last >> RANDOM_BITS {
        fresh
    } else {
        *last + 1 + u128::from(fastrand::u32(..))
    };
    JobId::from_bytes(last.to_be_bytes())
}
