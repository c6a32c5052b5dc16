//! Jobs come in, and wait for room.

use std::{
    collections::{BTreeSet, hash_map::Entry},
    sync::Arc,
    task::{Poll, Waker},
};

use super::{
    Due, Store,
    effects::Effects,
    record::{Extra, Record},
    unique::Holders,
};
use crate::{
    JobId, JobState,
    body::Place,
    clock::{Now, nanos, wall},
    error::Refusal,
    event::EventKind,
    job::{More, Options, Start, Unique, Watcher, bit},
    line,
    slot::AnySlot,
};

/// A job that was not accepted, and why.
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) parts: Option<Box<(Record, Options)>>,
}

impl Refused {
    fn new(refusal: Refusal, record: Record, options: Options) -> Self {
        Self {
            refusal,
            parts: Some(Box::new((record, options))),
        }
    }
}

impl Store {
    /// Accepts a job; or finds the one that has its unique key.
    ///
    /// `record` was [made](Record::new) before the lock was taken, and has its body.
    pub(crate) fn submit(
        &mut self,
        mut record: Record,
        options: Options,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(JobId, Option<Arc<dyn AnySlot>>), Refused> {
        if self.closed {
            return Err(Refused::new(Refusal::Closed, record, options));
        }
        // Closed while the room is checked and until this job has its id.
        self.close_inbox();
        let unique = options.more.as_ref().and_then(|more| more.unique.as_ref());
        if let Some(found) = unique.and_then(|unique| self.find_unique(unique, None, now)) {
            record.take_remains(fx);
            if let Some(more) = options.more {
                let More { watcher, .. } = *more;
                self.found_instead(found.0, watcher, fx);
                // Not dropped under the lock, as a span calls the subscriber.
                #[cfg(feature = "tracing")]
                if let Some(parent) = more.parent {
                    fx.gone.push(Box::new(parent));
                }
            }
            self.call_for_room(fx);
            return Ok((found.0, Some(found.1)));
        }
        let beyond_limit = options.more.as_ref().is_some_and(|more| more.beyond_limit);
        if self.room_left() == 0 && !beyond_limit {
            let limit = self.settings.queue_limit;
            return Err(Refused::new(Refusal::Full { limit }, record, options));
        }
        let mut waits_for = BTreeSet::new();
        if let Some(more) = &options.more {
            for id in &more.after {
                match self.known(*id).map(|record| record.state) {
                    None => {
                        let refusal = Refusal::UnknownDependency(*id);
                        self.call_for_room(fx);
                        return Err(Refused::new(refusal, record, options));
                    }
                    Some(JobState::Completed) => {}
                    Some(state) if state.is_finished() => {
                        let refusal = Refusal::FailedDependency(*id, state);
                        self.call_for_room(fx);
                        return Err(Refused::new(refusal, record, options));
                    }
                    Some(_) => {
                        waits_for.insert(id.number());
                    }
                }
            }
        }

        let id = self.inbox.next_id(now);
        let number = id.number();
        let class = match &options.class {
            Some(name) => self.queue.class(name),
            None => self.queue.default_class(),
        };
        (record.id, record.class) = (id, class);
        let mut start = None;
        if let Some(more) = options.more {
            start = more.start;
            for other in &waits_for {
                if let Some(other) = self.get(*other) {
                    other.extra().dependents.push(number);
                }
            }
            if let Some(unique) = &more.unique {
                self.hold_unique(unique.key.clone(), number, false);
            }
            record.extra = Some(Box::new(Extra {
                name: more.name,
                key: more.key,
                unique: more.unique,
                submitted: now.watch,
                labels: more.labels,
                timeout: more.timeout,
                retry: more.retry,
                watchers: Vec::from_iter(more.watcher),
                #[cfg(feature = "tracing")]
                parent: more.parent,
                waits_for,
                ..Extra::default()
            }));
        }
        // A job that is due already is not scheduled.
        let start = start.filter(|start| match start {
            Start::After(delay) => !delay.is_zero(),
            Start::At(at) => wall(*at) > now.wall,
        });
        let waits = record
            .extra
            .as_ref()
            .is_some_and(|extra| !extra.waits_for.is_empty());
        if start.is_some() || waits {
            record.state = JobState::Scheduled;
        }
        let state = record.state;
        self.records.insert(number, || record);
        self.count(class, state, 1);
        self.emit(
            id,
            EventKind::State {
                from: None,
                to: state,
            },
            now,
            fx,
        );
        match start {
            Some(Start::After(delay)) => {
                self.set_due(number, now, nanos(delay), Due::Start, fx);
            }
            Some(Start::At(at)) => self.set_due_on_wall(number, wall(at), fx),
            None if waits => {}
            None => self.enqueue(number, now, fx),
        }
        self.open_inbox();
        Ok((id, None))
    }

    /// The newest job that has the key by these terms, but for the one that asks.
    pub(super) fn find_unique(
        &self,
        unique: &Unique,
        asks: Option<JobId>,
        now: Now,
    ) -> Option<(JobId, Arc<dyn AnySlot>)> {
        let holds = |record: &&Record| {
            let is_within = unique.within.is_none_or(|within| {
                let submitted = record.extra.as_ref().map_or(0, |extra| extra.submitted);
                now.watch.saturating_sub(submitted) < nanos(within)
            });
            unique.states & bit(record.state) != 0 && is_within && Some(record.id) != asks
        };
        let holders = self.unique.get(&unique.key)?;
        let holders = holders.newest_first(unique.holds_ended());
        let mut records = holders.filter_map(|at| self.peek(at));
        let record = records.find(holds)?;
        Some((record.id, record.slot().clone()))
    }

    /// The job takes the key, for the first time or `again`.
    pub(super) fn hold_unique(&mut self, key: Arc<str>, number: u64, again: bool) {
        let Self {
            unique, records, ..
        } = self;
        let is_unfinished = |number| {
            let record = records.get(number);
            record.is_some_and(|record| !record.state.is_finished())
        };
        match unique.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Holders::new(number));
            }
            Entry::Occupied(mut entry) if again => entry.get_mut().add_again(number, is_unfinished),
            Entry::Occupied(mut entry) => entry.get_mut().add(number, is_unfinished),
        }
    }

    /// The job is there in place of a new one, whose watcher may want to watch it.
    fn found_instead(&mut self, id: JobId, watcher: Option<Arc<dyn Watcher>>, fx: &mut Effects) {
        let Some(watcher) = watcher else {
            return;
        };
        let record = self.get(id.number()).expect("it was just found");
        let watchers = &mut record.extra().watchers;
        let is_known = watchers.iter().any(|known| Arc::ptr_eq(known, &watcher));
        if watcher.found(id, record.state) && !is_known {
            record.extra().watchers.push(watcher);
        } else {
            // It may be the last one by now.
            fx.gone.push(Box::new(watcher));
        }
    }

    /// Ready if the queue has room, or if waiting for room is useless. Otherwise `waker` waits.
    pub(crate) fn poll_room(
        &mut self,
        place: &mut line::Place,
        waker: Waker,
        fx: &mut Effects,
    ) -> Poll<()> {
        if self.closed || self.room_left() > 0 {
            fx.unused.push(waker);
            fx.unused.extend(self.room.leave(place.take()));
            return Poll::Ready(());
        }
        fx.unused.extend(self.room.wait(place, waker));
        Poll::Pending
    }

    /// A waiter for room got it or gives up.
    pub(crate) fn leave_room(&mut self, place: line::Place, fx: &mut Effects) {
        match self.room.leave(place) {
            Some(waker) => fx.unused.push(waker),
            // It was woken. If it has not taken the room, the next waiter must.
            None => self.call_for_room(fx),
        }
    }

    pub(super) fn room_left(&self) -> u64 {
        let waiting = self.counts.scheduled + self.counts.queued + self.counts.retrying;
        (self.settings.queue_limit as u64).saturating_sub(waiting)
    }

    /// Wakes as many as there is room for. Also called where a job takes no room: its submitter may
    /// have been woken for it, and nobody else was.
    pub(super) fn call_for_room(&mut self, fx: &mut Effects) {
        if !self.room.is_empty() {
            for _ in 0..self.room_left() {
                match self.room.first() {
                    Some(waker) => fx.wakers.push(waker),
                    None => break,
                }
            }
        }
    }

    /// Puts a queued job in line, and calls a worker for it.
    pub(super) fn enqueue(&mut self, number: u64, now: Now, fx: &mut Effects) {
        let Some(record) = self.records.get(number) else {
            return;
        };
        let (class, priority, place) = (record.class, record.priority, record.place);
        let key = record.key().cloned();
        let entry = (number, record.round());
        self.queue
            .push(class, key.as_ref(), priority, now.watch, entry);
        self.call_workers(Some(place), fx);
    }

    /// Calls workers for the jobs that may run.
    pub(super) fn call_workers(&mut self, place: Option<Place>, fx: &mut Effects) {
        if self.paused || self.running >= self.settings.concurrency {
            // The worker that ends a job takes the next one.
            return;
        }
        let room = self.settings.concurrency - self.running;
        let queued = usize::try_from(self.counts.queued).unwrap_or(usize::MAX);
        if place != Some(Place::Pool) && self.dispatchers < self.settings.dispatchers.min(queued) {
            self.dispatchers += 1;
            fx.dispatchers += 1;
        }
        // Each closure that finds more to do calls the next: a burst starts few threads.
        const ON_THEIR_WAY: usize = 2;
        if place != Some(Place::Task) && self.runners < room.min(queued).min(ON_THEIR_WAY) {
            self.runners += 1;
            fx.runners += 1;
        }
    }
}
