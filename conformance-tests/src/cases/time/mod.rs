//! TI: time.

mod anywhere;
mod combinators;
mod deadlines;
mod moved;
mod starved;

use std::{
    sync::Arc,
    task::{Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use crate::{Case, setup::Setup};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    [
        deadlines::cases(s),
        anywhere::cases(s),
        combinators::cases(s),
        starved::cases(s),
        moved::cases(s),
    ]
    .concat()
}

const MS: Duration = Duration::from_millis(1);

/// Longer than any case.
const LONG: Duration = Duration::from_secs(3600);

/// Lets time pass, for cases about lateness.
fn pass_until(deadline: Instant) {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left);
    }
}

/// A waker, and its reference count.
fn counted_waker() -> (Waker, Arc<impl Wake + Send + Sync + 'static>) {
    struct Nothing;
    impl Wake for Nothing {
        fn wake(self: Arc<Self>) {}
    }
    let count = Arc::new(Nothing);
    (Waker::from(count.clone()), count)
}
