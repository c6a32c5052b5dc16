//! The first records of jobs that this process submitted: [`FirstRecords`].

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fourway_jobs_engine::JobId;

/// How many are remembered: more than jobs are queued in a process that keeps up. A job takes 32 bytes
/// of the table.
const MOST: usize = 16_384;

/// The revisions of records that this process wrote first, so that a worker of this process takes the job
/// without reading its record.
///
/// A revision may be outdated: the write that uses it compares it. So it may also be forgotten.
#[derive(Debug, Default)]
pub(crate) struct FirstRecords(Mutex<HashMap<JobId, u64>>);

impl FirstRecords {
    pub(crate) fn wrote(&self, id: JobId, revision: u64) {
        let mut first = self.lock();
        // Jobs that other processes have taken would stay for ever.
        if first.len() >= MOST {
            first.clear();
        }
        first.insert(id, revision);
    }

    /// Given once: a second message of the same job finds a later record.
    pub(crate) fn of(&self, id: JobId) -> Option<u64> {
        self.lock().remove(&id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use fourway_jobs_engine::next_id;

    use super::*;

    #[test]
    fn the_table_is_bounded_and_gives_each_once() {
        let first = FirstRecords::default();
        for revision in 0..MOST as u64 {
            first.wrote(next_id(), revision);
        }
        let last = next_id();
        first.wrote(last, 7);
        assert_eq!(first.lock().len(), 1);
        assert_eq!(first.of(last), Some(7));
        assert_eq!(first.of(last), None);
    }
}
