//! Jobs that have ended are forgotten.

use std::sync::Arc;

use super::{Store, effects::Effects};
use crate::{JobId, clock::Now, job::Unique};

impl Store {
    pub(super) fn evict(&mut self, now: Now, fx: &mut Effects) {
        while let Some(&(number, ended)) = self.finished.front() {
            if !self.is_gone(number) {
                let old = now.watch.saturating_sub(ended) >= self.settings.keep_for;
                let kept = self.finished.len() - self.gone_entries;
                if !old && kept <= self.settings.keep {
                    break;
                }
                self.remove(number, fx);
            }
            self.finished.pop_front();
        }
        if self.settings.keep_for < u64::MAX && !self.finished.is_empty() {
            // The ticker may have no other reason to run.
            self.tick_at(u64::MAX, fx);
        }
    }

    /// A job's entry among the finished ones is no longer valid.
    pub(super) fn note_gone(&mut self, number: u64) {
        *self.gone.entry(number).or_default() += 1;
        self.gone_entries += 1;
        // Entries leave at the front. One job there that is kept for long must not keep all of those
        // that were forgotten after it.
        if self.gone_entries > 64 && self.gone_entries > self.finished.len() / 2 {
            let mut finished = std::mem::take(&mut self.finished);
            finished.retain(|(number, _)| !self.is_gone(*number));
            self.finished = finished;
        }
    }

    /// Is the first entry of that job no longer valid? It is then taken out.
    pub(super) fn is_gone(&mut self, number: u64) -> bool {
        let Some(entries) = self.gone.get_mut(&number) else {
            return false;
        };
        *entries -= 1;
        if *entries == 0 {
            self.gone.remove(&number);
        }
        self.gone_entries -= 1;
        true
    }

    pub(super) fn remove(&mut self, number: u64, fx: &mut Effects) {
        if let Some(record) = self.peek(number) {
            let slot = record.slot();
            // Most jobs have no other owner of their slot by now, and so no waiter.
            if Arc::strong_count(slot) > 1 {
                slot.keep_status(&mut || self.status_of(record));
            }
        }
        let Self {
            records, unique, ..
        } = self;
        let removed = records.remove(number, |record| {
            let extra = record.extra.as_ref();
            if let Some(Unique { key, .. }) = extra.and_then(|extra| extra.unique.as_ref()) {
                if let Some(holders) = unique.get_mut(key) {
                    if holders.remove(number) {
                        unique.remove(key);
                    }
                }
            }
            record.take_remains(fx);
            (record.class, record.state)
        });
        if let Some((class, state)) = removed {
            self.count(class, state, -1);
            self.tidy(class);
        }
    }

    /// Forgets a class that was used last by what has just gone.
    pub(super) fn tidy(&mut self, class: u32) {
        // Entries in line of jobs that were cancelled and forgotten go with it.
        let entries = self.queue.tidy(class);
        self.stale = self.stale.saturating_sub(entries);
    }

    /// Forgets a job that has ended.
    pub(crate) fn forget(&mut self, id: JobId, fx: &mut Effects) -> Option<bool> {
        let record = self.known(id)?;
        if !record.state.is_finished() {
            return Some(false);
        }
        let number = id.number();
        self.note_gone(number);
        self.remove(number, fx);
        Some(true)
    }
}

#[cfg(all(test, not(fourway_shuttle), not(fourway_loom)))]
mod tests {
    use std::time::Duration;

    use fourway_core::Call;
    use fourway_testing::any;

    use crate::{Job, JobContext, JobManager};

    #[test]
    fn nothing_stays_of_what_was_forgotten_after_a_job_that_is_kept() {
        let rt = any();
        let keeping = JobManager::builder(&rt).keep(10_000, Duration::MAX);
        let jobs = keeping.build();
        let kept = jobs.submit(|| Err::<(), _>("broken")).unwrap().id();
        jobs.wait(kept).wait().unwrap();
        let fails = || Job::blocking(|_: JobContext| Err::<(), _>("broken"));
        let again = jobs.submit(fails()).unwrap().id();
        for _ in 0..1000 {
            let job = jobs.submit(|| ()).unwrap().id();
            jobs.wait(job).wait().unwrap();
            assert_eq!(jobs.forget(job), Ok(true));
            // An entry of each end, of which the last one holds.
            jobs.wait(again).wait().unwrap();
            jobs.retry(again).unwrap();
        }
        jobs.wait(again).wait().unwrap();
        let store = jobs.shared().lock();
        let entries = store.finished.len();
        assert!(entries <= 130, "{entries} entries of 2 jobs");
        assert_eq!(entries - store.gone_entries, 2);
        drop(store);
        assert!(jobs.status(kept).is_ok() && jobs.status(again).is_ok());
    }
}
