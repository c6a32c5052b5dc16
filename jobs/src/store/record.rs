//! The record of one job: [`Record`].

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fourway_core::cancel::Reason;

use super::{Due, Effects};
use crate::{
    JobId, JobState, Retry,
    body::{Body, Place},
    context::Control,
    job::{Unique, Watcher},
    slot::AnySlot,
    snapshot::Attempt,
};

pub(crate) struct Record {
    pub(super) id: JobId,
    /// While it waits, and afterwards if it can run again.
    pub(super) body: Option<Body>,
    /// Until the record is removed.
    slot: Option<Arc<dyn AnySlot>>,
    /// While it runs; and afterwards, if it has told of its progress.
    pub(super) control: Option<Arc<Control>>,
    pub(super) extra: Option<Box<Extra>>,
    /// On the wall; zero is never. When it was submitted, its id says.
    pub(super) started: u64,
    pub(super) ended: u64,
    pub(super) attempt: u32,
    pub(super) class: u32,
    pub(super) priority: i8,
    pub(super) state: JobState,
    pub(super) place: Place,
    /// Its body can run more than once.
    is_again: bool,
    pub(super) asked: Asked,
    /// In `assigned`.
    pub(super) is_assigned: bool,
}

/// The request to a running job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    /// End, as it was cancelled. Unless that was a request, [`Extra`] has the reason.
    Cancel,
    /// End, as it took too long.
    Timeout,
}

/// The fields that most jobs do not need.
#[derive(Default)]
pub(super) struct Extra {
    pub(super) name: Option<std::borrow::Cow<'static, str>>,
    pub(super) key: Option<Arc<str>>,
    pub(super) unique: Option<Unique>,
    /// When it was submitted, on the watch: the clock on the wall, and with it the job's id, may be
    /// set forward or back.
    pub(super) submitted: u64,
    pub(super) labels: Vec<(String, String)>,
    pub(super) timeout: Option<Duration>,
    pub(super) retry: Option<Retry>,
    pub(super) due: Option<(u64, Due)>,
    /// On the wall, also for deadlines on the watch.
    pub(super) due_at: u64,
    pub(super) is_due_on_wall: bool,
    /// In a set, as each of many may end at any time.
    pub(super) waits_for: BTreeSet<u64>,
    pub(super) dependents: Vec<u64>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) error: Option<String>,
    /// Why it is being cancelled. `None` if it was requested.
    pub(super) reason: Option<Box<Reason>>,
    /// How often the job was run again after its end.
    pub(super) round: u32,
    /// Its own, and those that [found](Watcher::found) it.
    pub(super) watchers: Vec<Arc<dyn Watcher>>,
    /// Until the job has ended: a span that is kept does not close.
    #[cfg(feature = "tracing")]
    pub(super) parent: crate::span::Parent,
}

/// A job's state has changed.
#[must_use = "it has to be counted"]
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) id: JobId,
    pub(super) class: u32,
    pub(super) from: JobState,
    pub(super) to: JobState,
}

/// What is left of a job that was forgotten, to be dropped without the lock.
pub(crate) struct Remains {
    _slot: Option<Arc<dyn AnySlot>>,
    _body: Option<Body>,
    _control: Option<Arc<Control>>,
    _extra: Option<Box<Extra>>,
}

/// A job on its way into the store.
pub(crate) struct New {
    pub(crate) body: Body,
    pub(crate) slot: Arc<dyn AnySlot>,
    pub(crate) priority: i8,
}

impl Record {
    /// A job that is not accepted yet: it has neither an id nor a class.
    #[inline]
    pub(crate) fn new(new: New) -> Self {
        let New {
            body,
            slot,
            priority,
        } = new;
        Self {
            id: JobId::from_halves(0, 0),
            place: body.place(),
            is_again: body.is_again(),
            body: Some(body),
            slot: Some(slot),
            control: None,
            extra: None,
            started: 0,
            ended: 0,
            attempt: 0,
            class: 0,
            priority,
            state: JobState::Queued,
            asked: Asked::Nothing,
            is_assigned: false,
        }
    }

    /// Changes the state. The caller [notes](super::Store::note) the change.
    #[inline]
    pub(super) fn change(&mut self, to: JobState) -> Change {
        Change {
            id: self.id,
            class: self.class,
            from: std::mem::replace(&mut self.state, to),
            to,
        }
    }

    /// Takes out the parts to drop when the job is forgotten. Of most jobs that is the slot alone.
    #[inline]
    pub(super) fn take_remains(&mut self, fx: &mut Effects) {
        if self.body.is_none() && self.control.is_none() && self.extra.is_none() {
            fx.slots.extend(self.slot.take());
        } else {
            fx.records.push(Remains {
                _slot: self.slot.take(),
                _body: self.body.take(),
                _control: self.control.take(),
                _extra: self.extra.take(),
            });
        }
    }

    #[inline]
    pub(super) fn slot(&self) -> &Arc<dyn AnySlot> {
        self.slot.as_ref().expect("the record is known")
    }

    /// Did its first attempt run without options, and was it not asked to end?
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.extra.is_none() && self.asked == Asked::Nothing && self.attempt == 1
    }

    pub(super) fn key(&self) -> Option<&Arc<str>> {
        self.extra.as_ref()?.key.as_ref()
    }

    /// How often the job was run again after its end.
    pub(super) fn round(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.round)
    }

    /// Does the job wait in its place of that round?
    pub(super) fn is_in_line(&self, round: u32) -> bool {
        self.state == JobState::Queued && !self.is_assigned && self.round() == round
    }

    /// How often it is tried: its own setting, or else `default`. `None` if it can run only once.
    pub(super) fn retry<'a>(&'a self, default: &'a Retry) -> Option<&'a Retry> {
        let own = self.extra.as_ref().and_then(|extra| extra.retry.as_ref());
        self.is_again.then(|| own.unwrap_or(default))
    }

    pub(super) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }
}
