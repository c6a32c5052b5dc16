//! A group of requests, performed in one transaction: [`transact`].

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use fourway_jobs_engine::{
    Beat, CancelAnswer, EngineError, Fetch, Held, JobId, JobState, Lease, NewJob, RetryAnswer,
    Settled, Submitted, Verdict,
    columns::{self, stored},
    life::{Change, Life, millis},
    next_id,
};
use futures_util::future::{try_join, try_join_all, try_join3};
use tokio_postgres::{Row, types::ToSql};

use crate::{
    ask::{Answer, Ask},
    db::{Db, failed},
    handed_out::{HandedOut, Hold},
    rows::{Columns, Unreadable, bytes, insert, life, unsigned, when},
    unique::Keys,
};

/// How many due jobs one transaction changes besides its requests.
pub(crate) const SWEEP: i64 = 1000;

/// Performs all requests or none. Also returns whether waiters must be told. `again` if the
/// requests may have been performed before and the answer was lost.
pub(crate) async fn transact(
    db: &Db,
    known: &HandedOut,
    asks: &[&Ask],
    again: bool,
) -> Result<(Vec<Answer>, bool), EngineError> {
    if let Some(done) = attempt(db, known, asks, again, again).await? {
        return Ok(done);
    }
    // Some jobs are not as they were handed out: the lease was lost, or the job is to be cancelled. To
    // lock them now, behind the others, could be a deadlock with a transaction that locks in order.
    let rollback = db.client.batch_execute("ROLLBACK");
    rollback.await.map_err(failed)?;
    let done = attempt(db, known, asks, again, true).await?;
    done.ok_or_else(|| EngineError::internal("a locked job is not as it was read"))
}

/// `None` if a job is not as this process has handed it out, which `locks_first` excludes.
async fn attempt(
    db: &Db,
    known: &HandedOut,
    asks: &[&Ask],
    again: bool,
    locks_first: bool,
) -> Result<Option<(Vec<Answer>, bool)>, EngineError> {
    let mut group = Group::begin(db, known, asks, again, locks_first).await?;
    let mut answers: Vec<Option<Answer>> = Vec::new();
    for ask in asks {
        answers.push(group.change(ask));
    }
    let [changes, ends] = group.changes()?;
    let handed = ends.ids.len();
    let fetches = asks.iter().filter_map(|ask| match ask {
        Ask::Fetch(fetch) => Some(group.pick(fetch)),
        _ => None,
    });
    let fetches = try_join_all(fetches.collect::<Vec<_>>());
    let has = |is: fn(&Ask) -> bool| asks.iter().any(|ask| is(ask));
    let passes = has(|ask| matches!(ask, Ask::Pass | Ask::Fetch(_)))
        && group.next.is_some_and(|next| next <= group.now);
    let mut unreadable = None;
    let fetched = if passes || has(|ask| matches!(ask, Ask::Submit(_) | Ask::Retry(_))) {
        let (_, ended) = try_join(changes.update(db), ends.update_held(db)).await?;
        if ended < handed {
            return Ok(None);
        }
        group.queue(asks, &mut answers).await?;
        if passes {
            unreadable = group.pass().await?;
        }
        fetches.await?
    } else {
        // No statement needs the answer of another one: the server has all of them at once.
        let (_, ended, fetched) =
            try_join3(changes.update(db), ends.update_held(db), fetches).await?;
        if ended < handed {
            return Ok(None);
        }
        fetched
    };
    let mut fetched = fetched.iter();
    let mut holds = Vec::new();
    for (ask, answer) in asks.iter().zip(&mut answers) {
        match ask {
            Ask::Fetch(fetch) => {
                let rows = fetched.next().expect("one for each fetch");
                *answer = Some(group.lease(fetch, rows, &mut holds).await?);
            }
            Ask::Pass => {
                *answer = Some(unreadable.clone().map_or(Answer::Pass, Answer::Refused));
            }
            _ => {}
        }
    }
    let now = group.now;
    let changed = group.commit().await?;
    known.add(holds, now);
    let answers = answers.into_iter();
    let answers = answers.map(|answer| answer.expect("each request has an answer by now"));
    Ok(Some((answers.collect(), changed)))
}

/// A transaction and its pending writes.
struct Group<'a> {
    db: &'a Db,
    now: u64,
    again: bool,
    /// When the next transition is due.
    next: Option<u64>,
    /// The requested jobs: locked, or as they were handed out.
    lives: BTreeMap<JobId, Life>,
    /// The numbers of the hand-outs of the latter.
    numbers: BTreeMap<JobId, i64>,
    /// The changed ones of them, with their outputs.
    changed: BTreeMap<JobId, Option<Vec<u8>>>,
    /// A waiter may need to be told.
    tell: bool,
}

impl<'a> Group<'a> {
    /// Locks the requested jobs, except those that this process has handed out, and that only end
    /// now: their rows are as they were then, or the write finds that they are not.
    async fn begin(
        db: &'a Db,
        known: &HandedOut,
        asks: &[&Ask],
        again: bool,
        locks_first: bool,
    ) -> Result<Self, EngineError> {
        let mut ids = BTreeSet::new();
        for ask in asks {
            match ask {
                Ask::Cancel(id) | Ask::Retry(id) | Ask::Expire(id) => {
                    ids.insert(*id);
                }
                Ask::Beat(beats, _) => ids.extend(beats.iter().map(|beat| beat.lease.id)),
                Ask::Settle(_) | Ask::Submit(_) | Ask::Fetch(_) | Ask::Pass => {}
            }
        }
        known.forget(&ids);
        let mut held = BTreeMap::new();
        for ask in asks {
            let Ask::Settle(verdicts) = ask else {
                continue;
            };
            for (lease, _) in verdicts {
                match known.take(*lease) {
                    Some(hold) if !locks_first && ids.is_empty() => {
                        held.insert(lease.id, hold);
                    }
                    _ => {
                        ids.insert(lease.id);
                    }
                }
            }
        }
        // Rows are locked in one order. Those that are written without having been locked before would
        // come after the others.
        if !ids.is_empty() {
            ids.extend(std::mem::take(&mut held).into_keys());
        }
        let ids: Vec<_> = ids.iter().map(bytes).collect();
        // The statements are sent at once; the server answers them one by one.
        let (_, time, rows) = try_join3(
            db.client
                .batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED"),
            db.client.query_one(&db.sql.now, &[]),
            when(!ids.is_empty(), db, &db.sql.lock, &[&ids]),
        )
        .await
        .map_err(failed)?;
        let lives = rows.iter().map(life);
        let lives = lives.map(|life| life.map(|life| (life.id(), life)));
        let mut lives: BTreeMap<_, _> = lives.collect::<Result<_, _>>()?;
        let mut numbers = BTreeMap::new();
        for (id, hold) in held {
            numbers.insert(id, hold.number);
            lives.insert(id, hold.life);
        }
        Ok(Self {
            db,
            now: unsigned(time.get(0)),
            again,
            next: time.get::<_, Option<i64>>(1).map(unsigned),
            lives,
            numbers,
            changed: BTreeMap::new(),
            tell: false,
        })
    }

    /// Performs a request that concerns one existing job.
    fn change(&mut self, ask: &Ask) -> Option<Answer> {
        match ask {
            Ask::Cancel(id) => Some(Answer::Cancel(self.cancel(*id))),
            Ask::Beat(beats, lease) => {
                let beats = beats.iter().map(|beat| self.beat(beat, *lease));
                Some(Answer::Beat(beats.collect()))
            }
            Ask::Settle(verdicts) => {
                let verdicts = verdicts.iter();
                let settle = |(lease, verdict): &(Lease, Verdict)| self.settle(*lease, verdict);
                Some(Answer::Settle(verdicts.map(settle).collect()))
            }
            Ask::Expire(id) => {
                self.expire(*id);
                Some(Answer::Pass)
            }
            // These need the unique keys, which are locked after all rows.
            Ask::Submit(_) | Ask::Retry(_) => None,
            Ask::Fetch(_) | Ask::Pass => None,
        }
    }

    fn expire(&mut self, id: JobId) {
        let now = self.now;
        if self.lives.get_mut(&id).is_some_and(|life| life.expire(now)) {
            self.changed.entry(id).or_default();
            self.tell = true;
        }
    }

    fn cancel(&mut self, id: JobId) -> CancelAnswer {
        let Some(life) = self.lives.get_mut(&id) else {
            return CancelAnswer::Unknown;
        };
        let answer = if self.again {
            life.cancel_again(self.now)
        } else {
            life.cancel(self.now)
        };
        if answer != CancelAnswer::TooLate {
            self.changed.entry(id).or_default();
            self.tell = true;
        }
        answer
    }

    fn beat(&mut self, beat: &Beat, lease: Duration) -> Held {
        let id = beat.lease.id;
        let Some(life) = self.lives.get_mut(&id) else {
            return Held::Lost;
        };
        let held = life.beat(beat.lease.token, beat.progress.clone(), lease, self.now);
        if held != Held::Lost {
            self.changed.entry(id).or_default();
        }
        held
    }

    fn settle(&mut self, lease: Lease, verdict: &Verdict) -> Settled {
        let Some(life) = self.lives.get_mut(&lease.id) else {
            return Settled::Lost;
        };
        let change = life.settle(lease.token, verdict.clone(), self.now);
        let settled = change.settled();
        if let Change::Write(output) = change {
            self.changed.insert(lease.id, output);
            self.tell = true;
        }
        settled
    }

    /// The changes of locked rows, and those of hand-outs.
    fn changes(&mut self) -> Result<[Columns; 2], EngineError> {
        let [mut changes, mut ends] = <[Columns; 2]>::default();
        for (id, output) in std::mem::take(&mut self.changed) {
            let life = &self.lives[&id];
            match self.numbers.get(&id) {
                Some(number) => {
                    ends.push(life, output)?;
                    ends.numbers.push(*number);
                }
                None => changes.push(life, output)?,
            }
        }
        Ok([changes, ends])
    }

    /// Queues those that are submitted, and those that are to run again: what may take a unique key.
    async fn queue(
        &mut self,
        asks: &[&Ask],
        answers: &mut [Option<Answer>],
    ) -> Result<(), EngineError> {
        let jobs = asks.iter().filter_map(|ask| match ask {
            Ask::Submit(jobs) => Some(jobs.as_slice()),
            _ => None,
        });
        let jobs: Vec<&NewJob> = jobs.flatten().collect();
        let again = asks.iter().filter_map(|ask| match ask {
            Ask::Retry(id) => self.lives.get(id),
            _ => None,
        });
        // At once, in one order: of two transactions one waits for the other.
        let mut keys = Keys::lock(self.db, &jobs, again, self.now).await?;
        self.retry(asks, answers, &mut keys).await?;
        if !jobs.is_empty() {
            self.submit(asks, answers, keys).await?;
        }
        Ok(())
    }

    async fn retry(
        &mut self,
        asks: &[&Ask],
        answers: &mut [Option<Answer>],
        keys: &mut Keys,
    ) -> Result<(), EngineError> {
        let mut changes = BTreeMap::new();
        for (ask, answer) in asks.iter().zip(answers) {
            let Ask::Retry(id) = ask else {
                continue;
            };
            let retried = self.lives.get_mut(id).map(|life| {
                let mut changed = life.expire(self.now);
                let holder = keys.holder(life, self.now);
                let answer = if self.again {
                    life.retry_again(holder, self.now)
                } else {
                    life.retry(holder, self.now)
                };
                changed |= answer == RetryAnswer::Queued;
                if changed {
                    keys.take(life);
                    changes.insert(*id, life.clone());
                }
                answer
            });
            *answer = Some(Answer::Retry(retried.unwrap_or(RetryAnswer::Unknown)));
        }
        self.tell |= !changes.is_empty();
        let mut columns = Columns::default();
        for life in changes.values() {
            columns.push(life, None)?;
        }
        columns.update(self.db).await
    }

    async fn submit(
        &mut self,
        asks: &[&Ask],
        answers: &mut [Option<Answer>],
        mut keys: Keys,
    ) -> Result<(), EngineError> {
        let mut begun: Vec<(Life, Vec<u8>)> = Vec::new();
        for (ask, answer) in asks.iter().zip(answers) {
            let Ask::Submit(jobs) = ask else {
                continue;
            };
            let mut submitted = Vec::with_capacity(jobs.len());
            for job in jobs {
                let (life, args) = Life::begin(job.clone(), self.now);
                // Submitted before: the row that is there stays, and its life says whether it has
                // the key.
                if !keys.known.contains(&job.id) {
                    if let Some(there) = keys.holder(&life, self.now) {
                        submitted.push(Submitted::Existing(there));
                        continue;
                    }
                    keys.take(&life);
                }
                begun.push((life, args));
                submitted.push(Submitted::New(job.id));
            }
            *answer = Some(Answer::Submit(submitted));
        }
        self.tell = true;
        // In a fixed order, as rows are locked.
        begun.sort_by_key(|(life, _)| life.id());
        insert(self.db, &begun).await
    }

    /// Makes the due transitions, or the earliest of them if there are many. An error if a leased
    /// job cannot be read: a newer program may have written it. It delays no other job.
    async fn pass(&mut self) -> Result<Option<EngineError>, EngineError> {
        let now = stored(self.now);
        let db = self.db;
        let (_, rows, _) = try_join3(
            db.client.execute(&db.sql.promote, &[&now, &SWEEP]),
            db.client.query(&db.sql.expired, &[&now, &SWEEP]),
            db.client.execute(&db.sql.forget, &[&now, &SWEEP]),
        )
        .await
        .map_err(failed)?;
        let mut columns = Columns::default();
        let mut unreadable = Unreadable::default();
        for row in &rows {
            match life(row) {
                Ok(mut life) => {
                    life.expire(self.now);
                    // Also if there was nothing to do: a wrong column would cause endless work on
                    // it.
                    columns.push(&life, None)?;
                }
                Err(error) => unreadable.push(row.get(5), error),
            }
        }
        self.tell = true;
        columns.update(db).await?;
        let set_aside = unreadable.set_aside(db, &db.sql.set_aside_held, self.now);
        set_aside.await
    }

    /// Hands jobs out.
    fn pick(
        &self,
        fetch: &'a Fetch,
    ) -> impl Future<Output = Result<Picked, EngineError>> + use<'a> {
        let (db, now) = (self.db, stored(self.now));
        let number = hand_out();
        async move {
            let (kinds, versions): (Vec<_>, Vec<_>) = columns::kinds(fetch)
                .map(|(kind, version)| (kind, i64::from(version)))
                .unzip();
            let max = i64::try_from(fetch.max).unwrap_or(i64::MAX);
            let until = now.saturating_add(stored(millis(fetch.lease)));
            let values: [&(dyn ToSql + Sync); 7] = [
                &kinds,
                &versions,
                &max,
                &until,
                &number,
                &now,
                &fetch.worker,
            ];
            let rows = db.client.query(&db.sql.fetch, &values);
            let mut rows = rows.await.map_err(failed)?;
            rows.sort_by_cached_key(|row| {
                let (rank, due): (i16, i64) = (row.get(3), row.get(4));
                (rank, due, row.get::<_, Vec<u8>>(2))
            });
            Ok(Picked { number, rows })
        }
    }

    /// The jobs that were handed out, of which this process remembers `holds`.
    async fn lease(
        &mut self,
        fetch: &Fetch,
        picked: &Picked,
        holds: &mut Vec<Hold>,
    ) -> Result<Answer, EngineError> {
        let db = self.db;
        let mut jobs = Vec::with_capacity(picked.rows.len());
        let mut unreadable = Unreadable::default();
        for row in &picked.rows {
            match columns::life(row.get(0), JobState::Queued as i64) {
                Ok(mut life) => {
                    jobs.push(life.lease(&fetch.worker, fetch.lease, row.get(1), self.now));
                    let number = picked.number;
                    holds.push(Hold { life, number });
                }
                Err(error) => unreadable.push(row.get(2), error),
            }
        }
        let set_aside = unreadable.set_aside(db, &db.sql.set_aside_queued, self.now);
        if let Some(error) = set_aside.await?.filter(|_| jobs.is_empty()) {
            return Ok(Answer::Refused(error));
        }
        let next = self.next.filter(|next| *next > self.now);
        let next = next.map(|next| Duration::from_millis(next - self.now));
        Ok(Answer::Fetch(jobs, next))
    }

    async fn commit(self) -> Result<bool, EngineError> {
        let db = self.db;
        let commit = db.client.batch_execute("COMMIT");
        let values: [&(dyn ToSql + Sync); 1] = [&db.channel];
        let told = when(self.tell, db, &db.sql.notify, &values);
        try_join(told, commit).await.map_err(failed)?;
        Ok(self.tell)
    }
}

/// A number that no other hand-out of a job has: the random half of an id.
fn hand_out() -> i64 {
    let [.., a, b, c, d, e, f, g, h] = next_id().to_bytes();
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The rows of a fetch, in the order of hand-out.
struct Picked {
    number: i64,
    rows: Vec<Row>,
}
