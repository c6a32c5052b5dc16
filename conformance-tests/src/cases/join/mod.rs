//! JO: joining.

mod awaited;
mod destroyed;
mod metadata;
mod panics;
mod reasons;
mod resolves;

use std::task::{Poll, Waker};

use fourway_core::{JoinError, Task};

use crate::{
    Case,
    setup::Setup,
    util::{must, poll_once},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    [
        awaited::cases(s),
        destroyed::cases(s),
        panics::cases(s),
        reasons::cases(s),
        resolves::cases(s),
        metadata::cases(s),
    ]
    .concat()
}

fn unwrap_err<T>(result: Result<T, JoinError>) -> JoinError {
    match result {
        Ok(_) => panic!("the join gave an output"),
        Err(error) => error,
    }
}

/// The reason, one of three: cancelled, panicked, shut down.
fn reasons(error: &JoinError) -> [bool; 3] {
    assert!(!error.is_unstarted());
    [error.is_cancelled(), error.is_panic(), error.is_shutdown()]
}

const CANCELLED: [bool; 3] = [true, false, false];

const PANICKED: [bool; 3] = [false, true, false];

const SHUT_DOWN: [bool; 3] = [false, false, true];

fn message(error: JoinError) -> String {
    error.panic_message().unwrap_or_default().to_owned()
}

/// Joins by polling all the time, which sees the result as early as can be.
fn spin_join<T, K: Task<T>>(mut task: K) -> Result<T, JoinError> {
    let mut result = None;
    let deadline = std::time::Instant::now() + must();
    while result.is_none() {
        assert!(
            std::time::Instant::now() < deadline,
            "a join did not resolve"
        );
        match poll_once(&mut task, Waker::noop()) {
            Poll::Ready(ready) => result = Some(ready),
            Poll::Pending => std::hint::spin_loop(),
        }
    }
    result.expect("just set")
}
