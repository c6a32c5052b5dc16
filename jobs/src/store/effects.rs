//! The effects of a change of the store, performed once its lock is released: [`Effects`]; and the
//! input and output of a worker.

use std::{sync::Arc, task::Waker};

use fourway_core::cancel::Reason;

use super::record::Remains;
use crate::{
    JobError,
    body::{Body, Failure},
    context::Control,
    job::Watcher,
    slot::{AnySlot, Gone},
};

/// What to do when the lock is released.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) cancel: Vec<(Arc<Control>, Reason)>,
    pub(crate) bodies: Vec<Body>,
    pub(crate) failed: Vec<Failed>,
    pub(crate) wakers: Vec<Waker>,
    /// Watchers that have something to do.
    pub(crate) watchers: Vec<Arc<dyn Watcher>>,
    pub(crate) records: Vec<Remains>,
    /// Of forgotten jobs that had nothing else.
    pub(crate) slots: Vec<Arc<dyn AnySlot>>,
    /// Causes of failures that are not the last ones.
    pub(crate) failures: Vec<Failure>,
    pub(crate) controls: Vec<Arc<Control>>,
    /// Discarded contents of slots.
    pub(crate) gone: Vec<Gone>,
    /// Not to be woken, but dropped.
    pub(crate) unused: Vec<Waker>,
    pub(crate) dispatchers: usize,
    pub(crate) runners: usize,
    pub(crate) ticker: bool,
}

impl Effects {
    /// Is there a rare effect?
    pub(crate) fn has_more(&self) -> bool {
        let Self {
            cancel: _,
            bodies: _,
            failed: _,
            wakers: _,
            records: _,
            slots: _,
            watchers,
            failures,
            controls,
            gone,
            unused,
            dispatchers,
            runners,
            ticker,
        } = self;
        !(watchers.is_empty()
            && failures.is_empty()
            && controls.is_empty()
            && gone.is_empty()
            && unused.is_empty())
            || *dispatchers + *runners > 0
            || *ticker
    }
}

/// The error for the waiters of a job without a value. They get it once everything of the job is
/// destroyed.
pub(crate) struct Failed {
    pub(crate) slot: Arc<dyn AnySlot>,
    pub(crate) error: JobError,
    /// How often the slot had been reopened.
    pub(crate) round: u32,
}

/// A job for a worker to run.
pub(crate) struct Started {
    pub(crate) number: u64,
    pub(crate) body: Body,
    /// For the span of the attempt, if it may have one.
    #[cfg(feature = "tracing")]
    pub(crate) traits: Option<crate::span::Traits>,
}

/// An attempt that is over.
pub(crate) struct Ended {
    pub(crate) number: u64,
    /// `None` if the body is not needed any more and is destroyed: the job
    /// [completes](super::Store::completes), or its body runs once and has given its value.
    pub(crate) body: Option<Body>,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    /// The value is in the slot, sealed.
    Done,
    Failed(Failure),
    /// It was dropped before its end, as it was asked to.
    Dropped,
    /// The runtime dropped it.
    Lost,
}

impl Outcome {
    pub(super) fn failure(self) -> Option<Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}
