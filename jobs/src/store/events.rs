//! Events are sent to the subscribers.

use std::{collections::VecDeque, sync::Arc};

use super::{Store, effects::Effects, record::Record};
use crate::{
    JobId, JobState,
    clock::{Now, time},
    event::{Event, EventKind, Ring},
};

impl Store {
    #[inline]
    pub(super) fn emit(&mut self, id: JobId, kind: EventKind, now: Now, fx: &mut Effects) {
        if self.subscribers.is_empty() && self.settings.history == 0 {
            return;
        }
        self.events += 1;
        let event = Event {
            number: self.events,
            at: time(now.wall),
            id,
            kind,
        };
        if self.settings.history > 0 {
            if self.history.len() == self.settings.history {
                self.history.pop_front();
            }
            self.history.push_back(event);
        }
        self.subscribers.retain(|ring| match ring.push(event) {
            Some(waker) => {
                fx.wakers.extend(waker);
                true
            }
            None => false,
        });
    }

    /// An attempt reports its progress. If it has ended, as its caller has kept the context, there
    /// is no event: a job has no events after its end.
    pub(crate) fn progressed(
        &mut self,
        id: JobId,
        attempt: u32,
        fraction: Option<f64>,
        now: Now,
        fx: &mut Effects,
    ) {
        let runs = |record: &Record| record.state == JobState::Running && record.attempt == attempt;
        if self.known(id).is_some_and(runs) {
            self.emit(id, EventKind::Progress { fraction }, now, fx);
        }
    }

    /// Subscribes to the events after that number, as far as they are kept.
    pub(crate) fn subscribe(&mut self, after: Option<u64>, capacity: usize) -> Arc<Ring> {
        let mut events = VecDeque::with_capacity(capacity.clamp(1, 1024));
        if let Some(after) = after {
            let kept = self.history.iter().filter(|event| event.number > after);
            events.extend(kept.copied());
        }
        let ring = Ring::new(capacity.max(events.len()), events);
        self.subscribers.push(ring.clone());
        // The subscriber is told of each job at once.
        self.close_inbox();
        ring
    }

    pub(crate) fn take_subscribers(&mut self) -> Vec<Arc<Ring>> {
        std::mem::take(&mut self.subscribers)
    }
}
