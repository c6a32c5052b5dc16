//! The jobs that this process has handed out: [`HandedOut`].

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use fourway_jobs_engine::{JobId, Lease, life::Life};

/// How many are remembered at most: more than one process runs at a time.
const MOST: usize = 16_384;

/// The jobs that this process has handed out, so that a verdict need not read them.
///
/// The row may have changed since: the write compares the number of the hand-out, which each change of
/// the row clears. So a job may also be forgotten here.
#[derive(Debug, Default)]
pub(crate) struct HandedOut(Mutex<HashMap<JobId, Hold>>);

/// A job as it was handed out.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) life: Life,
    /// The hand-out's.
    pub(crate) number: i64,
}

impl HandedOut {
    pub(crate) fn add(&self, holds: Vec<Hold>, now: u64) {
        if holds.is_empty() {
            return;
        }
        let mut known = self.lock();
        if known.len() + holds.len() > MOST {
            // Those whose worker said nothing: its fetch was dropped before the answer.
            let held = |hold: &Hold| {
                hold.life
                    .record
                    .lease_until
                    .is_some_and(|until| until > now)
            };
            known.retain(|_, hold| held(hold));
        }
        let room = MOST.saturating_sub(known.len());
        let holds = holds.into_iter().take(room);
        known.extend(holds.map(|hold| (hold.life.id(), hold)));
    }

    /// The job as it was handed out with that lease. Given once.
    pub(crate) fn take(&self, lease: Lease) -> Option<Hold> {
        let mut known = self.lock();
        let is_it = known.get(&lease.id)?.life.token == lease.token;
        if is_it { known.remove(&lease.id) } else { None }
    }

    /// They are about to change.
    pub(crate) fn forget(&self, ids: &BTreeSet<JobId>) {
        if !ids.is_empty() {
            let mut known = self.lock();
            for id in ids {
                known.remove(id);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Hold>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fourway_jobs_engine::NewJob;

    use super::*;

    fn hold(until: u64) -> Hold {
        let (mut life, args) = Life::begin(NewJob::new("kind", 1, ""), 0);
        life.lease("worker", Duration::from_millis(until), args, 0);
        Hold { life, number: 7 }
    }

    #[test]
    fn a_hand_out_is_given_once_and_only_for_its_lease() {
        let known = HandedOut::default();
        let [first, second] = [hold(1), hold(1)];
        let [id, other] = [first.life.id(), second.life.id()];
        known.add(vec![first, second], 0);
        assert!(known.take(Lease { id, token: 2 }).is_none());
        assert_eq!(known.take(Lease { id, token: 1 }).unwrap().number, 7);
        assert!(known.take(Lease { id, token: 1 }).is_none());
        known.forget(&BTreeSet::from([other]));
        assert!(
            known
                .take(Lease {
                    id: other,
                    token: 1
                })
                .is_none()
        );
    }

    #[test]
    fn what_nobody_speaks_of_is_forgotten() {
        let known = HandedOut::default();
        let holds = |until| (0..MOST).map(|_| hold(until)).collect::<Vec<_>>();
        known.add(holds(10), 0);
        known.add(vec![hold(10)], 5);
        assert_eq!(known.lock().len(), MOST);
        known.add(vec![hold(20)], 10);
        assert_eq!(known.lock().len(), 1);
        known.add(holds(20), 10);
        assert_eq!(known.lock().len(), MOST);
    }
}
