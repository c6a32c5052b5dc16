//! Jobs that have ended are forgotten.

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
        let Self {
            records, unique, ..
        } = self;
        let removed = records.remove(number, |record| {
            let extra = record.extra.as_ref();
            if let Some(Unique { key, .. }) = extra.and_then(|extra| extra.unique.as_ref()) {
                if unique.get(key) == Some(&number) {
                    unique.remove(key);
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
