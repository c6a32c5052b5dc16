//! Holds an output for its joiner.

use std::{
    any::Any,
    panic::{catch_unwind, panic_any},
    sync::{Arc, Mutex},
    task::Waker,
};

use fourway_adapt::{self as adapt};
use fourway_core::JoinError;

use crate::bugs::Bug;

use super::{SPAWNING, lock};

/// The joiner's side.
pub(super) struct Join<T> {
    pub(super) bug: Bug,
    pub(super) state: Mutex<JoinState<T>>,
}

pub(super) struct JoinState<T> {
    pub(super) result: Option<Result<T, JoinError>>,
    pub(super) joiner: Option<Waker>,
    pub(super) finished: bool,
    /// The result will not be taken.
    pub(super) abandoned: bool,
}

impl<T> Join<T> {
    pub(super) fn new(bug: Bug) -> Arc<Self> {
        Arc::new(Self {
            bug,
            state: Mutex::new(JoinState {
                result: None,
                joiner: None,
                finished: false,
                abandoned: false,
            }),
        })
    }

    pub(super) fn fill(&self, result: Result<T, JoinError>) {
        let mut state = lock(&self.state);
        if state.finished {
            return;
        }
        state.finished = true;
        if state.abandoned {
            drop(state);
            self.discard(Some(result));
            return;
        }
        state.result = Some(result);
        let joiner = if self.bug == Bug::JoinerWakerLeaks {
            state.joiner.clone()
        } else {
            state.joiner.take()
        };
        if self.bug == Bug::WakesUnderLock {
            let _spawning = lock(&SPAWNING);
            if let Some(joiner) = joiner {
                joiner.wake();
            }
            return;
        }
        drop(state);
        if let Some(joiner) = joiner {
            joiner.wake();
        }
    }

    /// Handles a result that is not taken.
    pub(super) fn discard(&self, result: Option<Result<T, JoinError>>) {
        match self.bug {
            Bug::OutputDropPanicEscapes => drop(result),
            Bug::OutputForgotten => std::mem::forget(result),
            _ => adapt::discard(result),
        }
    }

    /// The result will not be taken.
    pub(super) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.abandoned = true;
        let (result, joiner) = (state.result.take(), state.joiner.take());
        drop(state);
        drop(joiner);
        self.discard(result);
    }
}

pub(super) fn payload_of<T>(bug: Bug, payload: Box<dyn Any + Send>) -> Result<T, JoinError> {
    Err(match bug {
        Bug::PayloadLost => JoinError::panicked(Box::new("the task panicked")),
        Bug::PanicLooksCancelled => JoinError::cancelled(),
        Bug::HookToldTwice => {
            let payload = match payload.downcast::<String>() {
                Ok(text) => catch_unwind(|| panic_any(*text)).expect_err("it panics"),
                Err(payload) => payload,
            };
            JoinError::panicked(payload)
        }
        _ => JoinError::panicked(payload),
    })
}
