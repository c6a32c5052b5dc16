//! The unique keys of jobs, locked against other transactions: [`Keys`].

use std::collections::{BTreeMap, BTreeSet, HashSet};

use fourway_jobs_engine::{EngineError, JobId, NewJob, columns::stored, life::Life};
use futures_util::future::try_join3;

use crate::{
    db::{Db, failed},
    rows::{bytes, id, life},
};

/// The requested unique keys, locked against other transactions.
#[derive(Default)]
pub(crate) struct Keys {
    taken: BTreeMap<(String, String), Vec<Life>>,
    /// Which of the submitted jobs with a key are there already.
    pub(crate) known: HashSet<JobId>,
}

impl Keys {
    /// Those of jobs that are submitted, and of jobs that are there.
    pub(crate) async fn lock(
        db: &Db,
        jobs: &[&NewJob],
        lives: impl Iterator<Item = &Life>,
        now: u64,
    ) -> Result<Self, EngineError> {
        let new = jobs.iter().filter_map(|job| {
            let unique = job.unique.as_ref()?;
            Some((job.kind.as_str(), unique.key.as_str()))
        });
        let there = lives.filter_map(|life| {
            let record = &life.record;
            Some((record.kind.as_str(), record.unique.as_deref()?))
        });
        let keyed: BTreeSet<_> = new.chain(there).collect();
        if keyed.is_empty() {
            return Ok(Self::default());
        }
        let locks: BTreeSet<_> = keyed
            .iter()
            .map(|(kind, key)| format!("{}/{kind}/{key}", db.schema))
            .collect();
        let locks: Vec<_> = locks.into_iter().collect();
        let (kinds, keys): (Vec<_>, Vec<_>) = keyed.into_iter().unzip();
        let ids = jobs.iter().filter(|job| job.unique.is_some());
        let ids: Vec<_> = ids.map(|job| bytes(&job.id)).collect();
        // Each statement sees what was committed before it began, so the reads after the locks see
        // the current state.
        let (_, rows, known) = try_join3(
            db.client.query(&db.sql.lock_keys, &[&locks]),
            db.client
                .query(&db.sql.with_keys, &[&kinds, &keys, &stored(now)]),
            db.client.query(&db.sql.known, &[&ids]),
        )
        .await
        .map_err(failed)?;
        let mut taken: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for row in &rows {
            let life = life(row)?;
            if let Some(key) = &life.record.unique {
                let key = (life.record.kind.clone(), key.clone());
                taken.entry(key).or_default().push(life);
            }
        }
        let known = known.iter().map(|row| id(row.get(0)));
        Ok(Self {
            taken,
            known: known.collect::<Result<_, _>>()?,
        })
    }

    /// The other job that has its key.
    pub(crate) fn holder(&self, job: &Life, now: u64) -> Option<JobId> {
        let there = self.taken.get(&Self::key(job)?)?;
        let holder = there.iter().find(|life| life.takes_key(now))?;
        Some(holder.id()).filter(|id| *id != job.id())
    }

    pub(crate) fn take(&mut self, job: &Life) {
        if let Some(key) = Self::key(job) {
            self.taken.entry(key).or_default().push(job.clone());
        }
    }

    fn key(job: &Life) -> Option<(String, String)> {
        let record = &job.record;
        Some((record.kind.clone(), record.unique.clone()?))
    }
}
