//! Queries: lists and snapshots of jobs.

use std::sync::Arc;

use super::{
    Store,
    record::{Asked, Extra, Record},
};
use crate::{
    JobId, JobState,
    clock::time,
    filter::Filter,
    handle::UntilEnded,
    slot::AnySlot,
    snapshot::{Attempt, ClassStatus, JobStatus, ManagerStatus},
};

impl Store {
    pub(crate) fn find(&self, id: JobId) -> Option<(Arc<dyn AnySlot>, JobState, Option<String>)> {
        let record = self.known(id)?;
        let error = record.extra.as_ref().and_then(|extra| extra.error.clone());
        Some((record.slot().clone(), record.state, error))
    }

    /// Waits for the job's end; `None` if it is not known.
    pub(crate) fn until_ended(&self, id: JobId) -> Option<UntilEnded> {
        let record = self.known(id)?;
        Some(UntilEnded::new(record.slot().clone()))
    }

    pub(crate) fn state(&self, id: JobId) -> Option<JobState> {
        self.known(id).map(|record| record.state)
    }

    pub(crate) fn status(&self, id: JobId) -> Option<JobStatus> {
        self.known(id).map(|record| self.status_of(record))
    }

    pub(super) fn status_of(&self, record: &Record) -> JobStatus {
        let none = Extra::default();
        let extra = record.extra.as_deref().unwrap_or(&none);
        let some = |wall: u64| (wall != 0).then(|| time(wall));
        JobStatus {
            id: record.id,
            state: record.state,
            cancelling: record.asked != Asked::Nothing,
            name: extra.name.as_ref().map(ToString::to_string),
            class: self.queue.classes[record.class as usize].name.to_string(),
            key: extra.key.as_ref().map(ToString::to_string),
            unique: extra.unique.as_ref().map(|unique| unique.key.to_string()),
            priority: record.priority,
            labels: extra.labels.iter().cloned().collect(),
            submitted_at: record.id.submitted_at(),
            due_at: some(extra.due_at),
            started_at: some(record.started),
            ended_at: some(record.ended),
            attempt: record.attempt,
            max_attempts: record
                .retry(&self.settings.retry)
                .map_or(1, |retry| retry.attempts),
            attempts: match &*extra.attempts {
                [] => only_attempt(record).into_iter().collect(),
                attempts => attempts.to_vec(),
            },
            error: extra.error.clone(),
            progress: record
                .control
                .as_ref()
                .and_then(|control| control.progress()),
            waits_for: extra
                .waits_for
                .iter()
                .filter_map(|number| Some(self.peek(*number)?.id))
                .collect(),
        }
    }

    /// Jobs that the filter lets through, in the order of their ids, at most `limit`; and
    /// whether there may be more after them. Looks at no more than `LOOK` jobs.
    pub(crate) fn list(
        &self,
        filter: &Filter,
        after: Option<JobId>,
        newest_first: bool,
        limit: usize,
    ) -> (Vec<JobStatus>, Option<JobId>) {
        const LOOK: usize = 4096;
        let class = match &filter.class {
            None => None,
            Some(name) => match self.queue.find(name) {
                Some(class) => Some(class),
                None => return (Vec::new(), None),
            },
        };
        let fits = |record: &&Record| {
            class.is_none_or(|class| record.class == class)
                && filter.fits_state(record.state)
                && (!filter.needs_more() || {
                    let extra = record.extra.as_deref();
                    filter.fits(
                        extra.and_then(|extra| extra.name.as_deref()),
                        extra.and_then(|extra| extra.key.as_deref()),
                        extra.map_or(&[], |extra| &extra.labels),
                    )
                })
        };
        let mut found = Vec::new();
        let mut last = None;
        let mut more = false;
        let mut look = |records: &mut dyn Iterator<Item = &Record>| {
            for (looked, record) in records.enumerate() {
                if found.len() == limit || looked == LOOK {
                    more = true;
                    break;
                }
                last = Some(record.id);
                if fits(&record) {
                    found.push(self.status_of(record));
                }
            }
        };
        match (newest_first, after.map(JobId::number)) {
            (false, after) => look(&mut self.records.from(after.map_or(0, |after| after + 1))),
            (true, None) => look(&mut self.records.iter().rev()),
            (true, Some(after)) => look(&mut self.records.before(after)),
        }
        (found, last.filter(|_| more))
    }

    pub(crate) fn manager_status(&self) -> ManagerStatus {
        let some = |limit: usize| (limit != usize::MAX).then_some(limit);
        let mut classes: Vec<_> = self.queue.classes.iter().collect();
        classes.retain(|class| class.since.is_some());
        classes.sort_by_key(|class| class.since);
        ManagerStatus {
            counts: self.counts,
            submitted: self.inbox.given(),
            ended: self.ended,
            classes: classes
                .into_iter()
                .map(|class| ClassStatus {
                    name: class.name.to_string(),
                    paused: class.paused,
                    limit: some(class.limit),
                    limit_per_key: some(class.limit_per_key),
                    counts: class.counts,
                })
                .collect(),
            paused: self.paused,
            closed: self.closed,
        }
    }
}

/// The attempt of a job that completed in its first one. It is not kept beside the record, which has
/// all of it: most jobs are such.
fn only_attempt(record: &Record) -> Option<Attempt> {
    let is_it = record.state == JobState::Completed && record.attempt == 1;
    is_it.then(|| Attempt {
        number: 1,
        started_at: time(record.started),
        ended_at: time(record.ended),
        state: JobState::Completed,
        error: None,
    })
}
