//! The first records of jobs that this process submitted: [`FirstRecords`].

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fourway_jobs_engine::JobId;

/// How many are remembered at least: more than jobs are queued in a process that keeps up. At most twice
/// as many are; a job takes 32 bytes of the table.
const MOST: usize = 8192;

/// The revisions of records that this process wrote first, so that a worker of this process takes the job
/// without reading its record.
///
/// A revision may be outdated: the write that uses it compares it. So it may also be forgotten.
#[derive(Debug, Default)]
pub(crate) struct FirstRecords(Mutex<Generations>);

/// When the young ones are as many as there may be, they replace the old ones. Otherwise jobs that other
/// processes have taken would stay for ever.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<JobId, u64>,
    old: HashMap<JobId, u64>,
}

impl FirstRecords {
    pub(crate) fn wrote(&self, id: JobId, revision: u64) {
        let mut first = self.lock();
        if first.young.len() >= MOST {
            first.old = mem::take(&mut first.young);
        }
        first.young.insert(id, revision);
    }

    /// Given once: a second message of the same job finds a later record.
    pub(crate) fn of(&self, id: JobId) -> Option<u64> {
        let mut first = self.lock();
        first.young.remove(&id).or_else(|| first.old.remove(&id))
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use fourway_jobs_engine::next_id;

    use super::*;

    #[test]
    fn the_table_is_bounded_and_gives_each_of_the_last_once() {
        let first = FirstRecords::default();
        let ids: Vec<_> = (0..5 * MOST as u64 / 2)
            .map(|revision| {
                let id = next_id();
                first.wrote(id, revision);
                id
            })
            .collect();
        let kept = {
            let first = first.lock();
            first.young.len() + first.old.len()
        };
        assert!((MOST..=2 * MOST).contains(&kept), "{kept}");
        for (revision, id) in ids.iter().enumerate().skip(ids.len() - MOST) {
            assert_eq!(first.of(*id), Some(revision as u64));
            assert_eq!(first.of(*id), None);
        }
        assert_eq!(first.of(ids[0]), None);
    }
}
