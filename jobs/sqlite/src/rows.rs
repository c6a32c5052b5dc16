//! Requests to the tables: each function is a part of one transaction.

use fourway_jobs_engine::{
    Beat, CancelAnswer, Counts, EngineError, Fetch, Filter, Held, JobId, Lease, Leased, NewJob,
    Page, Record, RetryAnswer, Settled, Submitted, Verdict,
    columns::{self, stored},
    life::{Change, Life},
};
use rusqlite::{OptionalExtension, Row, ToSql, params, params_from_iter};

use crate::db::{Db, failed, unique_until};

/// How many due jobs one transaction changes besides its request.
const SWEEP: u32 = 1000;

/// How long an unreadable job is left alone.
const UNREADABLE: u64 = 60_000;

/// The parts of one job.
const ONE: &str = "SELECT rowid, state, life FROM job WHERE id = ?1";

const IS_THERE: &str = "SELECT 1 FROM job WHERE id = ?1";

/// By the indices of those that may have a key: see [`Life::takes_key`].
const HOLDER: &str = concat!(
    "SELECT id FROM job WHERE kind = ?1 AND unique_key = ?2 AND state < 4 AND ",
    unique_until!(),
    " IS NULL UNION ALL SELECT id FROM job WHERE kind = ?1 AND unique_key = ?2 AND ",
    unique_until!(),
    " IS NOT NULL AND ",
    unique_until!(),
    " > ?3 LIMIT 1"
);

/// A job with its row.
struct Kept {
    row: i64,
    life: Life,
}

impl Db {
    /// Whether a transition is due: see [`pass`](Self::pass).
    pub(crate) fn is_stale(&self, now: u64) -> Result<bool, EngineError> {
        let sql = "SELECT \
            EXISTS (SELECT 1 FROM job WHERE state IN (0, 3) AND due_at <= ?1) \
            OR EXISTS (SELECT 1 FROM job WHERE lease_until <= ?1) \
            OR EXISTS (SELECT 1 FROM job WHERE forget_at <= ?1)";
        let ask = || {
            let mut ask = self.connection.prepare_cached(sql)?;
            ask.query_row([stored(now)], |row| row.get(0))
        };
        ask().map_err(|error| failed(&error))
    }

    /// Whether a job of these kinds waits for a worker.
    pub(crate) fn has_work(&self, kinds: &[(String, u32)]) -> Result<bool, EngineError> {
        let sql = "SELECT EXISTS \
            (SELECT 1 FROM job WHERE state = 1 AND kind = ?1 AND version <= ?2)";
        let ask = |(kind, version): &(String, u32)| {
            let mut ask = self.connection.prepare_cached(sql)?;
            ask.query_row(params![kind, version], |row| row.get(0))
        };
        for kind in kinds {
            if ask(kind).map_err(|error| failed(&error))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes the due transitions, or a part of them if there are many.
    ///
    /// Gives an error if a leased job cannot be read: perhaps a newer program has written it and
    /// can read it. It is left for that program and delays no other job meanwhile.
    pub(crate) fn pass(&self, now: u64) -> Result<Option<EngineError>, EngineError> {
        self.execute(
            "UPDATE job SET state = 1 WHERE state IN (0, 3) AND due_at <= ?1",
            &[&stored(now)],
        )?;
        let expired = self.parts(
            "SELECT rowid, state, life FROM job WHERE lease_until <= ?1 LIMIT ?2",
            &[&stored(now), &SWEEP],
        )?;
        let mut unreadable = None;
        for parts in expired {
            let row = parts.0;
            match Kept::from_parts(parts) {
                Ok(mut kept) => {
                    kept.life.expire(now);
                    // Also if there was nothing to do: a wrong column would cause endless work on
                    // it.
                    self.update(&kept)?;
                }
                Err(error) => {
                    let until = stored(now.saturating_add(UNREADABLE));
                    self.execute(
                        "UPDATE job SET lease_until = ?2 WHERE rowid = ?1",
                        &[&row, &until],
                    )?;
                    unreadable = Some(error);
                }
            }
        }
        self.execute(
            "DELETE FROM job WHERE rowid IN \
            (SELECT rowid FROM job WHERE forget_at <= ?1 LIMIT ?2)",
            &[&stored(now), &SWEEP],
        )?;
        Ok(unreadable)
    }

    pub(crate) fn submit(&self, job: NewJob, now: u64) -> Result<Submitted, EngineError> {
        let id = job.id;
        if let Some(unique) = &job.unique {
            if let Some(there) = self.holder(&job, &unique.key, now)? {
                return Ok(there);
            }
        }
        let (life, args) = Life::begin(job, now);
        let record = &life.record;
        self.execute(
            "INSERT INTO job (id, kind, version, state, rank, due_at, unique_key, life, args) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO NOTHING",
            &[
                &id.to_bytes(),
                &record.kind,
                &record.version,
                &(record.state as u8),
                &-i16::from(record.priority),
                &stored(record.due_at),
                &record.unique,
                &columns::text(&life)?,
                &args,
            ],
        )?;
        Ok(Submitted::New(id))
    }

    /// Who has the unique key of a job: the job itself if it is there, as it may have been submitted
    /// before; or another one.
    ///
    /// No life is read: an unreadable one does not hold up new jobs.
    fn holder(&self, job: &NewJob, key: &str, now: u64) -> Result<Option<Submitted>, EngineError> {
        let is_there = || {
            let mut ask = self.connection.prepare_cached(IS_THERE)?;
            ask.exists([job.id.to_bytes()])
        };
        if is_there().map_err(|error| failed(&error))? {
            return Ok(Some(Submitted::New(job.id)));
        }
        Ok(self
            .holder_of(&job.kind, key, now)?
            .map(Submitted::Existing))
    }

    /// The one job that has the key now.
    fn holder_of(&self, kind: &str, key: &str, now: u64) -> Result<Option<JobId>, EngineError> {
        let ask = || {
            let mut ask = self.connection.prepare_cached(HOLDER)?;
            let values = params![kind, key, stored(now)];
            let holder = ask.query_row(values, |row| row.get(0)).optional()?;
            Ok(holder.map(JobId::from_bytes))
        };
        ask().map_err(|error| failed(&error))
    }

    pub(crate) fn status(&self, id: JobId) -> Result<Option<Record>, EngineError> {
        Ok(self.one(id)?.map(|kept| kept.life.record))
    }

    pub(crate) fn output(&self, id: JobId) -> Result<Option<Vec<u8>>, EngineError> {
        let ask = || {
            let sql = "SELECT output FROM job WHERE id = ?1";
            let mut ask = self.connection.prepare_cached(sql)?;
            ask.query_row([id.to_bytes()], |row| row.get(0)).optional()
        };
        ask().map(Option::flatten).map_err(|error| failed(&error))
    }

    pub(crate) fn cancel(&self, id: JobId, now: u64) -> Result<CancelAnswer, EngineError> {
        let Some(mut kept) = self.one(id)? else {
            return Ok(CancelAnswer::Unknown);
        };
        let answer = kept.life.cancel(now);
        self.update(&kept)?;
        Ok(answer)
    }

    pub(crate) fn retry(&self, id: JobId, now: u64) -> Result<RetryAnswer, EngineError> {
        let Some(mut kept) = self.one(id)? else {
            return Ok(RetryAnswer::Unknown);
        };
        let expired = kept.life.expire(now);
        let record = &kept.life.record;
        let holder = match &record.unique {
            Some(key) => self.holder_of(&record.kind, key, now)?,
            None => None,
        };
        let answer = kept.life.retry(holder, now);
        if expired || answer == RetryAnswer::Queued {
            self.update(&kept)?;
        }
        Ok(answer)
    }

    pub(crate) fn list(&self, filter: &Filter) -> Result<Page, EngineError> {
        let mut sql = "SELECT id, kind, version, state, life FROM job WHERE TRUE".to_owned();
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        if !filter.states.is_empty() {
            let states: Vec<_> = filter
                .states
                .iter()
                .map(|one| (*one as u8).to_string())
                .collect();
            sql += &format!(" AND state IN ({})", states.join(", "));
        }
        if let Some(kind) = &filter.kind {
            sql += " AND kind = ?";
            values.push(Box::new(kind.clone()));
        }
        if let Some(before) = filter.before {
            sql += " AND id < ?";
            values.push(Box::new(before.to_bytes()));
        }
        sql += " ORDER BY id DESC LIMIT ?";
        let one_more = filter.limit.saturating_add(1);
        values.push(Box::new(i64::try_from(one_more).unwrap_or(i64::MAX)));
        let values: Vec<&dyn ToSql> = values.iter().map(|value| &**value).collect();
        let ask = || {
            let mut ask = self.connection.prepare_cached(&sql)?;
            let shown = |row: &Row<'_>| {
                let (id, kind): (_, String) = (JobId::from_bytes(row.get(0)?), row.get(1)?);
                let (state, life): (i64, String) = (row.get(3)?, row.get(4)?);
                let life = columns::life(&life, state);
                Ok(columns::shown(id, &kind, row.get(2)?, state, life))
            };
            let rows = ask.query_map(params_from_iter(values), shown)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let jobs = ask().map_err(|error| failed(&error))?;
        Ok(Page::of(jobs, filter.limit))
    }

    pub(crate) fn counts(&self) -> Result<Counts, EngineError> {
        let ask = || {
            let sql = "SELECT state, COUNT(*) FROM job GROUP BY state";
            let mut ask = self.connection.prepare_cached(sql)?;
            let counts =
                ask.query_map([], |row| Ok((row.get::<_, u8>(0)?, row.get::<_, u64>(1)?)))?;
            counts.collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut counts = Counts::default();
        for (state, count) in ask().map_err(|error| failed(&error))? {
            let state = columns::shown_state(state.into());
            fourway_jobs_engine::life::count(&mut counts, state, count);
        }
        Ok(counts)
    }

    /// Gives an error if it finds only unreadable jobs; they are set aside as in
    /// [`pass`](Self::pass).
    pub(crate) fn fetch(
        &self,
        fetch: &Fetch,
        now: u64,
    ) -> Result<Result<Vec<Leased>, EngineError>, EngineError> {
        // `maintain` reports unreadable leased jobs.
        let _ = self.pass(now)?;
        let sql = "SELECT rank, due_at, id FROM job \
            WHERE state = 1 AND kind = ?1 AND version <= ?2 ORDER BY rank, due_at, id LIMIT ?3";
        let max = i64::try_from(fetch.max).unwrap_or(i64::MAX);
        let best_of = |(kind, version): (&str, u32)| {
            let mut ask = self.connection.prepare_cached(sql)?;
            let keys = ask.query_map(params![kind, version, max], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, [u8; 16]>(2)?,
                ))
            })?;
            keys.collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut best = Vec::new();
        for kind in columns::kinds(fetch) {
            best.extend(best_of(kind).map_err(|error| failed(&error))?);
        }
        best.sort_unstable();
        best.truncate(fetch.max);

        let mut jobs = Vec::with_capacity(best.len());
        let mut unreadable = None;
        for (_, _, id) in best {
            let args = || {
                let sql = "SELECT args FROM job WHERE id = ?1";
                let mut ask = self.connection.prepare_cached(sql)?;
                ask.query_row([id], |row| row.get(0))
            };
            let args = args().map_err(|error| failed(&error))?;
            let Some(parts) = self.parts(ONE, &[&id])?.pop() else {
                continue;
            };
            let row = parts.0;
            match Kept::from_parts(parts) {
                Ok(mut kept) => {
                    jobs.push(kept.life.lease(&fetch.worker, fetch.lease, args, now));
                    self.update(&kept)?;
                }
                Err(error) => {
                    let until = stored(now.saturating_add(UNREADABLE));
                    self.execute(
                        "UPDATE job SET state = 0, due_at = ?2 WHERE rowid = ?1",
                        &[&row, &until],
                    )?;
                    unreadable = Some(error);
                }
            }
        }
        Ok(match unreadable {
            Some(error) if jobs.is_empty() => Err(error),
            _ => Ok(jobs),
        })
    }

    pub(crate) fn beat(
        &self,
        beat: Beat,
        lease: std::time::Duration,
        now: u64,
    ) -> Result<Held, EngineError> {
        let Some(mut kept) = self.one(beat.lease.id)? else {
            return Ok(Held::Lost);
        };
        let held = kept.life.beat(beat.lease.token, beat.progress, lease, now);
        if held != Held::Lost {
            self.update(&kept)?;
        }
        Ok(held)
    }

    pub(crate) fn settle(
        &self,
        lease: Lease,
        verdict: Verdict,
        now: u64,
    ) -> Result<Settled, EngineError> {
        let Some(mut kept) = self.one(lease.id)? else {
            return Ok(Settled::Lost);
        };
        let change = kept.life.settle(lease.token, verdict, now);
        let settled = change.settled();
        if let Change::Write(output) = change {
            self.update(&kept)?;
            if let Some(output) = output {
                let sql = "UPDATE job SET output = ?2 WHERE rowid = ?1";
                self.execute(sql, &[&kept.row, &output])?;
            }
        }
        Ok(settled)
    }

    fn one(&self, id: JobId) -> Result<Option<Kept>, EngineError> {
        Ok(self.all(ONE, &[&id.to_bytes()])?.pop())
    }

    fn all(&self, sql: &str, values: &[&dyn ToSql]) -> Result<Vec<Kept>, EngineError> {
        let rows = self.parts(sql, values)?;
        rows.into_iter().map(Kept::from_parts).collect()
    }

    fn parts(&self, sql: &str, values: &[&dyn ToSql]) -> Result<Vec<Parts>, EngineError> {
        let ask = || {
            let mut ask = self.connection.prepare_cached(sql)?;
            let rows = ask.query_map(params_from_iter(values), parts)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        ask().map_err(|error| failed(&error))
    }

    fn update(&self, kept: &Kept) -> Result<(), EngineError> {
        let life = &kept.life;
        let record = &life.record;
        self.execute(
            "UPDATE job SET state = ?2, due_at = ?3, lease_until = ?4, forget_at = ?5, life = ?6 \
            WHERE rowid = ?1",
            &[
                &kept.row,
                &(record.state as u8),
                &stored(record.due_at),
                &record.lease_until.map(stored),
                &life.forget_at().map(stored),
                &columns::text(life)?,
            ],
        )
    }

    fn execute(&self, sql: &str, values: &[&dyn ToSql]) -> Result<(), EngineError> {
        let run = || {
            let mut run = self.connection.prepare_cached(sql)?;
            run.execute(params_from_iter(values))
        };
        run().map(drop).map_err(|error| self.write_failed(&error))
    }
}

type Parts = (i64, u8, String);

fn parts(row: &Row<'_>) -> rusqlite::Result<Parts> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

impl Kept {
    fn from_parts((row, state, life): Parts) -> Result<Self, EngineError> {
        let life = columns::life(&life, state.into())?;
        Ok(Self { row, life })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fourway_jobs_engine::UniqueKey;
    use rusqlite::StatementStatus::VmStep;

    use super::*;

    fn keyed(within: Option<Duration>) -> NewJob {
        let mut job = NewJob::new("kind", 1, "");
        let key = "key".to_owned();
        job.unique = Some(UniqueKey { key, within });
        job
    }

    /// The work is the same however many jobs had the key before, with a period or without.
    #[test]
    fn a_submission_does_not_look_at_who_had_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("jobs.db"), true).unwrap();
        let period = Duration::from_millis(1);
        let steps = |now| {
            for sql in [IS_THERE, HOLDER] {
                let ask = db.connection.prepare_cached(sql).unwrap();
                ask.reset_status(VmStep);
            }
            let job = keyed(None);
            let id = job.id;
            assert_eq!(db.submit(job, now).unwrap(), Submitted::New(id));
            db.cancel(id, now).unwrap();
            let steps = [IS_THERE, HOLDER].map(|sql| {
                let ask = db.connection.prepare_cached(sql).unwrap();
                ask.get_status(VmStep)
            });
            steps.iter().sum::<i32>()
        };
        let mut now = 1;
        let before = steps(now);
        assert!(before > 0);
        db.connection.execute_batch("BEGIN").unwrap();
        for _ in 0..1000 {
            for (within, ends) in [(None, true), (Some(period), true), (Some(period), false)] {
                let job = keyed(within);
                let id = job.id;
                assert_eq!(db.submit(job, now).unwrap(), Submitted::New(id));
                if ends {
                    db.cancel(id, now).unwrap();
                }
                now += 2;
            }
        }
        db.connection.execute_batch("COMMIT").unwrap();
        let after = steps(now);
        assert!(
            after <= before + 20,
            "{after} steps, and {before} without ended ones"
        );
    }

    /// Also in an older file, which keeps its index for older programs.
    #[test]
    fn keys_are_looked_for_by_their_indices() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let db = Db::open(&path, true).unwrap();
        db.connection
            .execute_batch(
                "DROP INDEX job_holds; DROP INDEX job_holds_until;
                CREATE INDEX job_unique ON job (kind, unique_key) WHERE unique_key IS NOT NULL;
                PRAGMA user_version = 1;",
            )
            .unwrap();
        drop(db);
        let db = Db::open(&path, true).unwrap();
        // They do not know the version of new files, and are told so when they open one.
        let sql = "PRAGMA user_version";
        let version: i64 = db.connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(version, 1);
        let new = Db::open(&folder.path().join("new.db"), true).unwrap();
        let version: i64 = new.connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(version, 2);
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'job_unique'";
        let kept: i64 = db.connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 1);
        let sql = format!("EXPLAIN QUERY PLAN {HOLDER}");
        let mut ask = db.connection.prepare(&sql).unwrap();
        let plan = ask.query_map(params!["kind", "key", 1], |row| row.get::<_, String>(3));
        let plan = plan
            .unwrap()
            .collect::<rusqlite::Result<Vec<_>>>()
            .unwrap()
            .join("\n");
        for index in ["job_holds (", "job_holds_until ("] {
            assert!(plan.contains(index), "{plan}");
        }
        assert!(!plan.contains("SCAN"), "{plan}");
    }
}
