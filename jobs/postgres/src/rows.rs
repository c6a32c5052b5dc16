//! Requests to the tables: [`transact`] performs a group of requests in one transaction, and
//! the functions below it read.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    future::Future,
    time::Duration,
};

use fourway_jobs_engine::{
    Beat, CancelAnswer, Counts, EngineError, Fetch, Filter, Held, JobId, JobState, Lease, Leased,
    NewJob, Page, Record, RetryAnswer, Settled, Submitted, Verdict,
    columns::{self, stored},
    life::{Change, Life, millis},
    next_id,
};
use futures_util::{
    TryStreamExt,
    future::{try_join, try_join_all, try_join3},
};
use tokio_postgres::{Row, Statement, types::ToSql};

use crate::{
    db::{Db, failed, life_columns},
    handed_out::{HandedOut, Hold},
};

/// How many due jobs one transaction changes besides its requests.
const SWEEP: i64 = 1000;

/// How long an unreadable job is left alone.
const UNREADABLE: u64 = 60_000;

/// A request to the writer.
#[derive(Debug)]
pub(crate) enum Ask {
    Submit(Vec<NewJob>),
    Cancel(JobId),
    Retry(JobId),
    Beat(Vec<Beat>, Duration),
    Settle(Vec<(Lease, Verdict)>),
    Fetch(Fetch),
    /// Makes the due transition of a leased job.
    Expire(JobId),
    /// Makes all due transitions.
    Pass,
}

impl Ask {
    /// About how many rows it concerns; much data counts as many rows.
    pub(crate) fn weight(&self) -> usize {
        const ROW: usize = 16 * 1024;
        match self {
            Self::Submit(jobs) => jobs.iter().map(|job| 1 + job.args.len() / ROW).sum(),
            Self::Beat(beats, _) => beats.len(),
            Self::Settle(verdicts) => verdicts
                .iter()
                .map(|(_, verdict)| match verdict {
                    Verdict::Complete(output) => 1 + output.len() / ROW,
                    _ => 1,
                })
                .sum(),
            Self::Fetch(fetch) => fetch.max,
            Self::Cancel(_) | Self::Retry(_) | Self::Expire(_) => 1,
            Self::Pass => 3 * SWEEP.unsigned_abs() as usize,
        }
    }
}

/// The answer, of the same kind as the request.
#[derive(Debug)]
pub(crate) enum Answer {
    Submit(Vec<Submitted>),
    Cancel(CancelAnswer),
    Retry(RetryAnswer),
    Beat(Vec<Held>),
    Settle(Vec<Settled>),
    /// With the time until the next due transition.
    Fetch(Vec<Leased>, Option<Duration>),
    Pass,
    /// An unreadable job was found. It has been set aside.
    Refused(EngineError),
}

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

/// The requested unique keys, locked against other transactions.
#[derive(Default)]
struct Keys {
    taken: BTreeMap<(String, String), Vec<Life>>,
    known: HashSet<JobId>,
}

impl Keys {
    /// Those of jobs that are submitted, and of jobs that are there.
    async fn lock(
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
    fn holder(&self, job: &Life, now: u64) -> Option<JobId> {
        let there = self.taken.get(&Self::key(job)?)?;
        let holder = there.iter().find(|life| life.takes_key(now))?;
        Some(holder.id()).filter(|id| *id != job.id())
    }

    fn take(&mut self, job: &Life) {
        if let Some(key) = Self::key(job) {
            self.taken.entry(key).or_default().push(job.clone());
        }
    }

    fn key(job: &Life) -> Option<(String, String)> {
        let record = &job.record;
        Some((record.kind.clone(), record.unique.clone()?))
    }
}

async fn insert(db: &Db, jobs: &[(Life, Vec<u8>)]) -> Result<(), EngineError> {
    let lives = || jobs.iter().map(|(life, _)| life);
    let records = || lives().map(|life| &life.record);
    let ids: Vec<_> = records().map(|job| bytes(&job.id)).collect();
    let kinds: Vec<_> = records().map(|job| job.kind.as_str()).collect();
    let versions: Vec<_> = records().map(|job| i64::from(job.version)).collect();
    let states: Vec<_> = records().map(|job| job.state as i16).collect();
    let ranks: Vec<_> = records().map(|job| -i16::from(job.priority)).collect();
    let due: Vec<_> = records().map(|job| stored(job.due_at)).collect();
    let keys: Vec<_> = records().map(|job| job.unique.as_deref()).collect();
    let until: Vec<_> = lives().map(|life| life.unique_until.map(stored)).collect();
    let written: Vec<_> = lives().map(columns::text).collect::<Result<_, _>>()?;
    let args: Vec<_> = jobs.iter().map(|(_, args)| args.as_slice()).collect();
    let values: [&(dyn ToSql + Sync); 10] = [
        &ids, &kinds, &versions, &states, &ranks, &due, &keys, &until, &written, &args,
    ];
    let insert = db.client.execute(&db.sql.insert, &values);
    insert.await.map(drop).map_err(failed)
}

/// Rows to be written, by columns.
#[derive(Default)]
struct Columns {
    ids: Vec<Vec<u8>>,
    states: Vec<i16>,
    due: Vec<i64>,
    leases: Vec<Option<i64>>,
    forget: Vec<Option<i64>>,
    lives: Vec<String>,
    outputs: Vec<Option<Vec<u8>>>,
    /// Of hand-outs.
    numbers: Vec<i64>,
}

impl Columns {
    fn push(&mut self, life: &Life, output: Option<Vec<u8>>) -> Result<(), EngineError> {
        let record = &life.record;
        self.ids.push(bytes(&record.id));
        self.states.push(record.state as i16);
        self.due.push(stored(record.due_at));
        self.leases.push(record.lease_until.map(stored));
        self.forget.push(life.forget_at().map(stored));
        self.lives.push(columns::text(life)?);
        self.outputs.push(output);
        Ok(())
    }

    async fn update(self, db: &Db) -> Result<(), EngineError> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let values = self.values();
        let update = db.client.execute(&db.sql.update, &values);
        update.await.map(drop).map_err(failed)
    }

    /// Writes those that are as they were handed out, and counts them.
    async fn update_held(self, db: &Db) -> Result<usize, EngineError> {
        if self.ids.is_empty() {
            return Ok(0);
        }
        let [a, b, c, d, e, f, g] = self.values();
        let values: [&(dyn ToSql + Sync); 8] = [a, b, c, d, e, f, g, &self.numbers];
        let rows = db.client.query(&db.sql.update_held, &values).await;
        rows.map(|rows| rows.len()).map_err(failed)
    }

    fn values(&self) -> [&(dyn ToSql + Sync); 7] {
        [
            &self.ids,
            &self.states,
            &self.due,
            &self.leases,
            &self.forget,
            &self.lives,
            &self.outputs,
        ]
    }
}

/// Rows whose lives cannot be read: perhaps a newer program has written them and can read them.
/// They are left for that program and delay no other job meanwhile.
#[derive(Default)]
struct Unreadable {
    ids: Vec<Vec<u8>>,
    first: Option<EngineError>,
}

impl Unreadable {
    fn push(&mut self, id: Vec<u8>, error: EngineError) {
        self.ids.push(id);
        self.first.get_or_insert(error);
    }

    async fn set_aside(
        self,
        db: &Db,
        sql: &Statement,
        now: u64,
    ) -> Result<Option<EngineError>, EngineError> {
        if self.first.is_some() {
            let until = stored(now.saturating_add(UNREADABLE));
            let values: [&(dyn ToSql + Sync); 2] = [&self.ids, &until];
            db.client.execute(sql, &values).await.map_err(failed)?;
        }
        Ok(self.first)
    }
}

// ---------------------------------------------------------------------------
// For the reader

/// The result of a read, or the request that the writer must perform first. Due transitions of
/// waiting and ended jobs show without having been written. The end of a lease does not: the worker
/// must have lost the job before any reader is told so.
#[derive(Debug)]
pub(crate) enum Seen<T> {
    So(T),
    After(Ask),
}

pub(crate) async fn status(db: &Db, id: JobId) -> Result<Seen<Option<Record>>, EngineError> {
    let row = db.client.query_opt(&db.sql.status, &[&bytes(&id)]).await;
    let Some(row) = row.map_err(failed)? else {
        return Ok(Seen::So(None));
    };
    let now = unsigned(row.get(5));
    let mut life = life(&row)?;
    if life.expire(now) {
        return Ok(Seen::After(Ask::Expire(id)));
    }
    life.promote(now);
    let forgotten = life.forget_at().is_some_and(|at| at <= now);
    Ok(Seen::So((!forgotten).then_some(life.record)))
}

pub(crate) async fn output(db: &Db, id: JobId) -> Result<Seen<Option<Vec<u8>>>, EngineError> {
    let row = db.client.query_opt(&db.sql.output, &[&bytes(&id)]).await;
    let row = row.map_err(failed)?;
    Ok(Seen::So(row.and_then(|row| row.get(0))))
}

/// The time; or `None` if leases have run out by then.
async fn time(db: &Db) -> Result<Option<i64>, EngineError> {
    let time = db.client.query_one(&db.sql.leases, &[]);
    let time = time.await.map_err(failed)?;
    let (now, first): (i64, Option<i64>) = (time.get(0), time.get(1));
    Ok(first.is_none_or(|first| first > now).then_some(now))
}

pub(crate) async fn list(db: &Db, filter: &Filter) -> Result<Seen<Page>, EngineError> {
    let Some(now) = time(db).await? else {
        return Ok(Seen::After(Ask::Pass));
    };
    let mut values: Vec<Box<dyn ToSql + Send + Sync>> = vec![Box::new(now)];
    let mut others = "(forget_at IS NULL OR forget_at > $1)".to_owned();
    if let Some(kind) = &filter.kind {
        values.push(Box::new(kind.clone()));
        others += &format!(" AND kind = ${}", values.len());
    }
    if let Some(before) = filter.before {
        values.push(Box::new(bytes(&before)));
        others += &format!(" AND id < ${}", values.len());
    }
    let one_more = i64::try_from(filter.limit.saturating_add(1)).unwrap_or(i64::MAX);
    let some = |so: &str| {
        format!(
            "SELECT {}, id, kind, version FROM {}.job WHERE {others}{so} ORDER BY id DESC LIMIT {one_more}",
            life_columns!(),
            db.schema
        )
    };
    let sql = if filter.states.is_empty() {
        some("")
    } else {
        // Each by an index, and all in the order of ids.
        let mut parts = Vec::new();
        let (running, others): (Vec<JobState>, Vec<_>) =
            (filter.states.iter()).partition(|one| **one == JobState::Running);
        if !running.is_empty() {
            parts.push(format!("({})", some(" AND lease_until IS NOT NULL")));
        }
        if !others.is_empty() {
            let states = others.iter().map(|one| (*one as i16).to_string());
            let states = states.collect::<Vec<_>>().join(", ");
            parts.push(format!(
                "({})",
                some(&format!(
                    " AND state <> 2 AND state IN ({states}) AND NOT (state IN (0, 3) AND due_at <= $1)"
                ))
            ));
        }
        if others.contains(&JobState::Queued) {
            parts.push(format!(
                "({})",
                some(" AND state IN (0, 3) AND due_at <= $1")
            ));
        }
        format!(
            "SELECT * FROM ({}) AS job ORDER BY id DESC LIMIT {one_more}",
            parts.join(" UNION ALL ")
        )
    };
    let values = values.iter().map(|value| {
        let value: &(dyn ToSql + Sync) = &**value;
        value
    });
    let rows = db.client.query_raw(&sql, values).await.map_err(failed)?;
    let rows: Vec<Row> = rows.try_collect().await.map_err(failed)?;
    let mut jobs = Vec::with_capacity(rows.len());
    for row in &rows {
        let life = life(row).map(|mut life| {
            life.promote(unsigned(now));
            life
        });
        let version = u32::try_from(row.get::<_, i64>(7)).unwrap_or_default();
        let state = row.get::<_, i16>(0).into();
        jobs.push(columns::shown(
            id(row.get(5))?,
            row.get(6),
            version,
            state,
            life,
        ));
    }
    Ok(Seen::So(Page::of(jobs, filter.limit)))
}

pub(crate) async fn counts(db: &Db) -> Result<Seen<Counts>, EngineError> {
    let Some(now) = time(db).await? else {
        return Ok(Seen::After(Ask::Pass));
    };
    let rows = db.client.query(&db.sql.counts, &[&now]).await;
    let mut known = BTreeMap::<i16, i64>::new();
    for row in rows.map_err(failed)? {
        let (of, state, count): (i32, i16, i64) = (row.get(0), row.get(1), row.get(2));
        let sign = if of == 0 { 1 } else { -1 };
        *known.entry(state).or_default() += sign * count;
        if of == 1 {
            *known.entry(JobState::Queued as i16).or_default() += count;
        }
    }
    let mut counts = Counts::default();
    for (state, count) in known {
        let state = columns::shown_state(state.into());
        fourway_jobs_engine::life::count(&mut counts, state, unsigned(count));
    }
    Ok(Seen::So(counts))
}

// ---------------------------------------------------------------------------
// Values

/// Rows, or none without a query.
async fn when(
    so: bool,
    db: &Db,
    sql: &Statement,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    if so {
        db.client.query(sql, values).await
    } else {
        Ok(Vec::new())
    }
}

/// The life in a row that begins with the [columns of a life](life_columns): its text, and the
/// hand-out that followed.
fn life(row: &Row) -> Result<Life, EngineError> {
    let state = i64::from(row.get::<_, i16>(0));
    let mut life = columns::life(row.get(1), state)?;
    if let (Some(at), Some(worker)) = (row.get::<_, Option<i64>>(2), row.get(3)) {
        let until = row.get::<_, Option<i64>>(4).unwrap_or(at);
        let lease = Duration::from_millis(unsigned(until.saturating_sub(at)));
        life.lease(worker, lease, Vec::new(), unsigned(at));
        life.record.state = columns::state(state)?;
    }
    Ok(life)
}

fn bytes(id: &JobId) -> Vec<u8> {
    id.to_bytes().to_vec()
}

fn id(bytes: &[u8]) -> Result<JobId, EngineError> {
    let bytes = bytes.try_into().map_err(|_| {
        EngineError::invalid(format!("the table has an id of {} bytes", bytes.len()))
    })?;
    Ok(JobId::from_bytes(bytes))
}

/// A column's number, unsigned.
fn unsigned(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or_default()
}
