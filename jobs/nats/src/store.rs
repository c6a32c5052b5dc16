//! Jobs in JetStream: the engine's requests.
//!
//! Each change of a job is one write of its record, which compares the revision. The
//! acknowledgement to the queue follows, and only decides when the message comes back. So a message
//! that comes too early, twice or late does not change the job's state.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, ServerAddr,
    jetstream::{
        Context, Message,
        consumer::PullConsumer,
        context::{ContextBuilder, CreateStreamErrorKind, PublishAckFuture},
        message::PublishMessage,
        stream::{Config, Stream},
    },
};
use fourway_jobs_engine::{
    Beat, CancelAnswer, EngineError, Fetch, Held, JobId, JobState, Lease, Leased, NewJob, Record,
    RetryAnswer, Settled, Submitted, Verdict,
    life::{Change, Life},
};
use futures_util::{StreamExt, future::join_all};
use tokio::{runtime::Handle, sync::Mutex as AsyncMutex, time::Instant};

use crate::{
    again::{Tries, persistently},
    bucket::{Bucket, Value, Written, millis},
    builder::Settings,
    clock::Clock,
    entry::{self, Entry},
    failed::{jetstream, unavailable},
    first::FirstRecords,
    keys,
    lanes::{Lanes, Turn},
    names::Lane,
    sweep::Sweeps,
    view::View,
};

/// How many jobs one call sends to the server at a time.
const AT_A_TIME: usize = 500;

/// The bytes of a message beyond its content.
const HEADERS: usize = 512;

/// For a message of at most so many bytes, the server's limit is not asked for: the client tells it with a
/// copy of all that the server has said of itself, which is too much for each write.
const SMALL: usize = 4096;

/// How long an unreadable job is left alone.
const UNREADABLE: Duration = Duration::from_secs(60);

/// For how long a fetch waits until it looks for new lanes.
const STEP: Duration = Duration::from_secs(1);

pub(crate) struct Store {
    handle: Handle,
    client: Client,
    context: Context,
    settings: Settings,
    /// [`SMALL`], or less if the server takes less.
    small: usize,
    lanes: Lanes,
    records: Bucket,
    keys: Bucket,
    clock: Clock,
    /// The jobs that this process holds, as last written, which saves reading them. Another process
    /// may have written since; the revision shows that.
    held: Mutex<HashMap<JobId, (Entry, u64)>>,
    first: FirstRecords,
    pub(crate) view: Arc<AsyncMutex<Option<View>>>,
    pub(crate) sweeps: Sweeps,
}

/// The state of a job in the records.
pub(crate) enum Known {
    Never,
    Forgotten,
    Job(Box<Job>),
}

pub(crate) struct Job {
    pub(crate) entry: Entry,
    pub(crate) output: Vec<u8>,
    pub(crate) revision: u64,
    /// The revision that this one replaced.
    pub(crate) before: Option<u64>,
}

impl Store {
    pub(crate) async fn open(handle: Handle, settings: Settings) -> Result<Self, EngineError> {
        let servers: Result<Vec<ServerAddr>, _> = settings
            .servers
            .split(',')
            .map(|server| server.trim().parse())
            .collect();
        let servers = servers.map_err(EngineError::invalid)?;
        let client = ConnectOptions::new()
            .name("fourway-jobs")
            .request_timeout(Some(settings.timeout))
            .connection_timeout(settings.timeout)
            .connect(servers)
            .await
            .map_err(unavailable)?;
        let context = ContextBuilder::new()
            .timeout(settings.timeout)
            .ack_timeout(settings.timeout)
            // A caller that sends many waits for the answers itself.
            .max_ack_inflight(1 << 20)
            .backpressure_on_inflight(false)
            .build(client.clone());
        let (prefix, replicas) = (&*settings.prefix, settings.replicas);
        let lanes = Lanes::open(
            &context,
            &client,
            &handle,
            prefix,
            replicas,
            settings.lease,
            settings.timeout,
        );
        let lanes = lanes.await?;
        let timeout = settings.timeout;
        let records = Bucket::open(&context, &records(prefix), replicas, 2, timeout).await?;
        let keys = Bucket::open(&context, &keys(prefix), replicas, 1, timeout).await?;
        let store = Self {
            handle,
            small: small(client.server_info().max_payload),
            client,
            context,
            lanes,
            records,
            keys,
            clock: Clock::default(),
            held: Mutex::default(),
            first: FirstRecords::default(),
            view: Arc::default(),
            sweeps: Sweeps::new(settings.sweep_every),
            settings,
        };
        store.clock.refresh(&store.keys).await?;
        Ok(store)
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.settings.prefix
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn replicas(&self) -> usize {
        let buckets = [&self.records, &self.keys];
        let replicas = buckets.map(|one| one.stream.cached_info().config.num_replicas);
        replicas.into_iter().fold(self.lanes.replicas(), usize::min)
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    pub(crate) fn records(&self) -> &Bucket {
        &self.records
    }

    pub(crate) fn keys(&self) -> &Bucket {
        &self.keys
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now()
    }

    pub(crate) async fn tell_time(&self) -> Result<u64, EngineError> {
        self.clock.refresh(&self.keys).await?;
        Ok(self.now())
    }

    pub(crate) async fn remove_all(&self) -> Result<(), EngineError> {
        let prefix = self.prefix();
        let streams = [
            Lanes::name(prefix),
            format!("KV_{}", records(prefix)),
            format!("KV_{}", keys(prefix)),
        ];
        for stream in streams {
            let removed = self.context.delete_stream(stream).await;
            removed.map_err(unavailable)?;
        }
        Ok(())
    }

    // -----------------------------------------------------------------------
    // Records

    /// Reads a job from the leader.
    pub(crate) async fn known(&self, id: JobId) -> Result<Known, EngineError> {
        Known::of(self.records.get(&id.to_string()).await?)
    }

    pub(crate) async fn write(
        &self,
        entry: &Entry,
        output: &[u8],
        revision: u64,
    ) -> Result<Written, EngineError> {
        let bytes = entry::write(entry, output)?;
        self.fits(bytes.len())?;
        let key = entry.life.id().to_string();
        self.records.put(&key, bytes, revision).await
    }

    pub(crate) fn fits(&self, bytes: usize) -> Result<(), EngineError> {
        if bytes + HEADERS <= self.small {
            return Ok(());
        }
        let most = self.client.server_info().max_payload;
        if bytes + HEADERS > most {
            return Err(EngineError::invalid(format!(
                "{bytes} bytes are too many for the server, which takes {most}: keep large data elsewhere, and its name in the job"
            )));
        }
        Ok(())
    }

    /// A job at this moment, after the transitions that are due by now.
    pub(crate) async fn look(&self, id: JobId) -> Result<Option<Box<Job>>, EngineError> {
        let now = self.tell_time().await?;
        let mut tries = self.tries();
        loop {
            let Known::Job(mut job) = self.known(id).await? else {
                return Ok(None);
            };
            if job.entry.life.expire(now) {
                job.output = self.bytes_without_output(&mut job.entry).await?;
                match self.write(&job.entry, &job.output, job.revision).await? {
                    Written::As(revision) => job.revision = revision,
                    Written::Conflict => {
                        tries.again().await?;
                        continue;
                    }
                }
            }
            job.entry.life.promote(now);
            if job.entry.life.forget_at().is_some_and(|at| at <= now) {
                self.forget(id, &job).await?;
                return Ok(None);
            }
            return Ok(Some(job));
        }
    }

    /// Removes the record of a job whose retention has ended.
    pub(crate) async fn forget(&self, id: JobId, job: &Job) -> Result<(), EngineError> {
        // The key first: see `keys`.
        self.release(id, &job.entry.life).await?;
        if self.records.keeps_one() {
            // The mark replaces the only value. If the bucket keeps more by now, the record is
            // deleted with the mark.
            let _ = self.records.remove(&id.to_string(), job.revision).await?;
            return Ok(());
        }
        // Deleted by its revision; otherwise the server would have to search for it.
        if let Some(before) = job.before {
            self.records.delete(before).await?;
        }
        match self.records.remove(&id.to_string(), job.revision).await? {
            Written::As(_) => self.records.delete(job.revision).await,
            // Another process has forgotten it already.
            Written::Conflict => Ok(()),
        }
    }

    pub(crate) fn tries(&self) -> Tries {
        Tries::within(self.settings.timeout)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<JobId, (Entry, u64)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record of a job that this process holds, or else as the leader has it.
    async fn of_lease(&self, lease: Lease, own: bool) -> Result<Option<(Entry, u64)>, EngineError> {
        let held = self.held().get(&lease.id).cloned();
        if let Some((entry, revision)) = held.filter(|_| own) {
            if entry.life.token == lease.token {
                return Ok(Some((entry, revision)));
            }
        }
        Ok(match self.known(lease.id).await? {
            Known::Job(job) => Some((job.entry, job.revision)),
            Known::Never | Known::Forgotten => None,
        })
    }

    // -----------------------------------------------------------------------
    // For clients

    pub(crate) async fn submit(&self, jobs: Vec<NewJob>) -> Result<Vec<Submitted>, EngineError> {
        let now = self.tell_time().await?;
        let begin = |job| Life::begin(job, now);
        let jobs: Vec<_> = jobs.into_iter().map(begin).collect();
        // All of them before the first is sent: if one is refused, none is taken.
        for (life, args) in &jobs {
            // Includes the space for names and headers; a record is not longer.
            self.fits(entry::write(life, args)?.len())?;
            lane(&life.record).checked()?;
            keys::name(life)?;
        }
        for (life, _) in &jobs {
            self.lanes.ensure(&lane(&life.record)).await?;
        }
        let submitted = self.claim_all(&jobs).await?;
        let new: Vec<_> = jobs.iter().zip(&submitted).collect();
        for some in new.chunks(AT_A_TIME) {
            let mut sent = Vec::with_capacity(some.len());
            for ((life, args), answer) in some {
                if answer.is_new() {
                    sent.push((life, args, self.send(life, args).await));
                }
            }
            // Each record is sent once its message is taken, while others are on their way.
            let taken = sent.into_iter().map(async |(life, args, sent)| {
                let taken_at_once = match sent {
                    Ok(sent) => sent.await.ok(),
                    Err(_) => None,
                };
                let message = match taken_at_once {
                    Some(ack) => ack.sequence,
                    None => self.send_surely(life, args).await?,
                };
                self.record_first(life, message).await
            });
            for recorded in join_all(taken).await {
                recorded?;
            }
        }
        Ok(submitted)
    }

    /// Completes the submission of a job that another process began.
    pub(crate) async fn introduce(&self, life: Life, args: &[u8]) -> Result<(), EngineError> {
        let message = self.send_surely(&life, args).await?;
        self.record_first(&life, message).await
    }

    /// Twice is once, by its id. Gives its sequence number.
    pub(crate) async fn send_surely(&self, life: &Life, args: &[u8]) -> Result<u64, EngineError> {
        let send = || async {
            let sent = self.send(life, args).await?.await;
            sent.map(|ack| ack.sequence).map_err(unavailable)
        };
        persistently(self.settings.timeout, send).await
    }

    /// Sends it to the queue first: the message holds the whole job.
    async fn send(&self, life: &Life, args: &[u8]) -> Result<PublishAckFuture, EngineError> {
        let id = match life.retried {
            0 => life.id().to_string(),
            // Another message than the one before: see `retry`.
            retried => format!("{}-{retried}", life.id()),
        };
        self.send_as(id, life, args).await
    }

    /// The id is the message's.
    pub(crate) async fn send_as(
        &self,
        id: String,
        life: &Life,
        args: &[u8],
    ) -> Result<PublishAckFuture, EngineError> {
        let lane = lane(&life.record);
        self.lanes.ensure(&lane).await?;
        let message = PublishMessage::build()
            .payload(entry::write(life, args)?.into())
            .message_id(id);
        let subject = lane.subject(self.prefix());
        let sent = self.context.send_publish(subject, message).await;
        sent.map_err(unavailable)
    }

    /// A worker that fetched it may have written the record before.
    async fn record_first(&self, life: &Life, message: u64) -> Result<(), EngineError> {
        let entry = Entry::sent(life.clone(), message);
        if let Written::As(revision) = self.write(&entry, &[], 0).await? {
            self.first.wrote(life.id(), revision);
        }
        Ok(())
    }

    pub(crate) async fn status(&self, id: JobId) -> Result<Option<Record>, EngineError> {
        Ok(self.look(id).await?.map(|job| job.entry.life.record))
    }

    pub(crate) async fn result(&self, id: JobId) -> Result<Option<Vec<u8>>, EngineError> {
        let job = self.look(id).await?;
        let completed = |job: &Job| job.entry.life.record.state == JobState::Completed;
        Ok(job.filter(|job| completed(job)).map(|job| job.output))
    }

    pub(crate) async fn wait(
        &self,
        id: JobId,
        patience: Duration,
    ) -> Result<Option<Record>, EngineError> {
        const LONGEST: Duration = Duration::from_millis(500);
        let end = Instant::now().checked_add(patience);
        let mut changes = None;
        let mut step = Duration::from_millis(1);
        loop {
            let job = self.status(id).await?;
            let over = end.is_some_and(|end| end <= Instant::now());
            match job {
                Some(job) if !job.state.is_finished() && !over => {}
                answer => return Ok(answer),
            }
            let Some(changes) = &mut changes else {
                // Listeners are told of a write, perhaps a little before it can be read. The first
                // read happens at once, as the write may have come before the listening began.
                let subject = self.records.subject(&id.to_string());
                changes = Some(self.client.subscribe(subject).await.map_err(unavailable)?);
                continue;
            };
            let left = end.map_or(LONGEST, |end| end.saturating_duration_since(Instant::now()));
            let told = tokio::time::timeout(step.min(left), changes.next()).await;
            step = if told.is_ok() {
                Duration::from_millis(1)
            } else {
                (step * 2).min(LONGEST)
            };
        }
    }

    pub(crate) async fn cancel(&self, id: JobId) -> Result<CancelAnswer, EngineError> {
        let mut tries = self.tries();
        loop {
            let Some(mut job) = self.look(id).await? else {
                return Ok(CancelAnswer::Unknown);
            };
            let answer = job.entry.life.cancel(self.now());
            if answer == CancelAnswer::TooLate {
                return Ok(answer);
            }
            let bytes = self.bytes_without_output(&mut job.entry).await?;
            match self.write(&job.entry, &bytes, job.revision).await? {
                // The worker that gets its message removes it.
                Written::As(_) => return Ok(answer),
                Written::Conflict => tries.again().await?,
            }
        }
    }

    // -----------------------------------------------------------------------
    // For workers

    pub(crate) async fn fetch(&self, fetch: &Fetch) -> Result<Vec<Leased>, EngineError> {
        if fetch.max == 0 || fetch.kinds.is_empty() {
            return Ok(Vec::new());
        }
        self.tell_time().await?;
        let end = Instant::now().checked_add(fetch.patience);
        loop {
            let jobs = persistently(self.settings.timeout, || self.fetch_now(fetch)).await?;
            let left = end.map_or(STEP, |end| end.saturating_duration_since(Instant::now()));
            if !jobs.is_empty() || left.is_zero() {
                return Ok(jobs);
            }
            let first = || self.fetch_first(fetch, left.min(STEP));
            let first = persistently(self.settings.timeout, first).await?;
            if first.is_some() {
                return Ok(first.into_iter().collect());
            }
        }
    }

    /// The jobs that are there at once in all lanes. An error only if it left no job.
    async fn fetch_now(&self, fetch: &Fetch) -> Result<Vec<Leased>, EngineError> {
        let mut jobs = Vec::new();
        for (lane, pull) in self.lanes.of(&fetch.kinds).await? {
            let more = self.fetch_from(&lane, &pull, fetch, &mut jobs).await;
            if jobs.is_empty() {
                more?;
            }
            if jobs.len() >= fetch.max {
                break;
            }
        }
        Ok(jobs)
    }

    /// The first job that comes in any lane. A step at a time, so that lanes made meanwhile are
    /// noticed.
    async fn fetch_first(
        &self,
        fetch: &Fetch,
        patience: Duration,
    ) -> Result<Option<Leased>, EngineError> {
        let lanes = self.lanes.of(&fetch.kinds).await?;
        match self.lanes.first(&lanes, patience).await? {
            Some(turn) => self.take(turn, fetch).await,
            None => Ok(None),
        }
    }

    /// The jobs of a lane that are available at once. If very many delivered messages still have to
    /// wait, another fetch gets the jobs behind them.
    async fn fetch_from(
        &self,
        lane: &Lane,
        pull: &PullConsumer,
        fetch: &Fetch,
        jobs: &mut Vec<Leased>,
    ) -> Result<(), EngineError> {
        let end = Instant::now() + self.settings.timeout;
        loop {
            let room = fetch.max - jobs.len();
            let turns = self.lanes.pull(lane, pull, room).await?;
            let handed = turns.len();
            let taken = join_all(turns.into_iter().map(|turn| self.take(turn, fetch))).await;
            let mut trouble = Ok(());
            let before = jobs.len();
            for job in taken {
                match job {
                    Ok(job) => jobs.extend(job),
                    Err(error) => trouble = Err(error),
                }
            }
            trouble?;
            // Some messages were handed out only to wait: there may be others behind them.
            if handed == jobs.len() - before || Instant::now() >= end {
                return Ok(());
            }
        }
    }

    /// Hands the job of a message out, if it is its turn.
    async fn take(&self, turn: Turn, fetch: &Fetch) -> Result<Option<Leased>, EngineError> {
        let Some(message) = turn.take() else {
            return Ok(None);
        };
        let Some(ack) = message.reply.as_ref().map(ToString::to_string) else {
            return Ok(None);
        };
        let taken = self.take_message(&message, &ack, fetch).await;
        if let Err(error) = &taken {
            // Soon, but not at once: a failed request would fail again now. Perhaps a newer program
            // has written an unreadable record: the job is left for that program, and delays no
            // other job meanwhile. If this request is lost, the message comes back by itself.
            let pause = if error.is_refusal() { UNREADABLE } else { STEP };
            let _ = self.lanes.later(&ack, pause).await;
        }
        taken
    }

    async fn take_message(
        &self,
        message: &Message,
        ack: &str,
        fetch: &Fetch,
    ) -> Result<Option<Leased>, EngineError> {
        let (first, args) = entry::read::<Life>(&message.payload)?;
        let id = first.id();
        let mut tries = self.tries();
        let mut next = match self.first.of(id) {
            // This process wrote the record, and the message has its content. If another process has
            // written since, the revision shows it.
            Some(revision) => Known::Job(Box::new(Job {
                entry: Entry::new(first.clone()),
                output: Vec::new(),
                revision,
                before: None,
            })),
            // At first any replica will do, as the write compares the revision that was found.
            None => Known::of(self.records.get_near(&id.to_string()).await?)?,
        };
        loop {
            let mut known = next;
            if matches!(known, Known::Never) && (first.retried > 0 || self.is_old(message)?) {
                // A submission writes the record before it answers, and before a retry there is one. So
                // this job was forgotten, and its mark deleted, or its submission failed. The leader
                // knows: a replica may not have received the record yet.
                known = match self.known(id).await? {
                    Known::Never => Known::Forgotten,
                    known => known,
                };
            }
            let mut job = match known {
                // A retry is on its way, or its process has died: see `retry`.
                Known::Job(mut job) if first.retried > job.entry.life.retried => {
                    match job.entry.life.retry(None, self.now()) {
                        RetryAnswer::Queued => job.entry.has_args = false,
                        // Its time is over. Who asked may still write the record, and must not once
                        // its message is gone.
                        RetryAnswer::Unknown => {
                            self.forget(id, &job).await?;
                            tries.again().await?;
                            next = self.known(id).await?;
                            continue;
                        }
                        _ => {}
                    }
                    job
                }
                Known::Job(job) => job,
                // Its submitter has not written the record yet, or never will.
                Known::Never => Box::new(Job {
                    entry: Entry::new(first.clone()),
                    output: Vec::new(),
                    revision: 0,
                    before: None,
                }),
                Known::Forgotten => {
                    self.lanes.done(ack).await?;
                    return Ok(None);
                }
            };
            let now = self.now();
            let life = &mut job.entry.life;
            let expired = life.expire(now);
            life.promote(now);
            let record = &life.record;
            let wait_until = match record.state {
                JobState::Queued => {
                    let leased = life.lease(&fetch.worker, fetch.lease, args.to_vec(), now);
                    let lane = lane(&life.record);
                    job.entry.ack = Some(ack.to_owned());
                    match self.write(&job.entry, &[], job.revision).await? {
                        Written::As(revision) => {
                            self.held().insert(id, (job.entry, revision));
                            self.lanes.hold_at_first(ack, &lane, fetch.lease).await?;
                            return Ok(Some(leased));
                        }
                        Written::Conflict => None,
                    }
                }
                JobState::Running => Some(record.lease_until.unwrap_or(now)),
                JobState::Scheduled | JobState::Retrying => Some(record.due_at),
                _ended => {
                    let written = if expired {
                        let args = self.args_that_fit(&mut job.entry, args);
                        self.write(&job.entry, args, job.revision).await?
                    } else {
                        Written::As(job.revision)
                    };
                    if written != Written::Conflict {
                        self.lanes.done(ack).await?;
                        return Ok(None);
                    }
                    None
                }
            };
            if let Some(until) = wait_until {
                let left = Duration::from_millis(until.saturating_sub(now).max(1));
                self.lanes.later(ack, left).await?;
                return Ok(None);
            }
            tries.again().await?;
            next = self.known(id).await?;
        }
    }

    /// The message was sent so long ago that its submission is over, and that the mark of its job
    /// may be deleted.
    ///
    /// That is half of the time that marks stay, as the clocks of servers differ.
    fn is_old(&self, message: &Message) -> Result<bool, EngineError> {
        let info = message.info().map_err(unavailable)?;
        let sent = millis(info.published.unix_timestamp_nanos());
        let age = Duration::from_millis(self.now().saturating_sub(sent));
        Ok(age >= self.settings.marks / 2)
    }

    pub(crate) async fn heartbeat(
        &self,
        beats: Vec<Beat>,
        lease: Duration,
    ) -> Result<Vec<Held>, EngineError> {
        self.tell_time().await?;
        let beats = beats.into_iter().map(|beat| self.beat(beat, lease));
        join_all(beats).await.into_iter().collect()
    }

    async fn beat(&self, beat: Beat, lease: Duration) -> Result<Held, EngineError> {
        let Beat {
            lease: of,
            progress,
        } = beat;
        let mut own = true;
        let mut tries = self.tries();
        loop {
            let Some((mut entry, revision)) = self.of_lease(of, own).await? else {
                return Ok(Held::Lost);
            };
            let life = &mut entry.life;
            let held = life.beat(of.token, progress.clone(), lease, self.now());
            if held == Held::Lost {
                self.let_go(of);
                return Ok(held);
            }
            match self.write(&entry, &[], revision).await? {
                Written::As(revision) => {
                    let lane = lane(&entry.life.record);
                    let ack = entry.ack.clone();
                    self.held().insert(of.id, (entry, revision));
                    if let Some(ack) = ack {
                        self.lanes.hold(&ack, &lane, lease).await?;
                    }
                    return Ok(held);
                }
                Written::Conflict => {
                    own = false;
                    tries.again().await?;
                }
            }
        }
    }

    pub(crate) async fn settle(
        &self,
        verdicts: Vec<(Lease, Verdict)>,
    ) -> Result<Vec<Settled>, EngineError> {
        self.tell_time().await?;
        let verdicts = verdicts.into_iter();
        let settle = verdicts.map(|(lease, verdict)| self.settle_one(lease, verdict));
        join_all(settle).await.into_iter().collect()
    }

    async fn settle_one(&self, lease: Lease, verdict: Verdict) -> Result<Settled, EngineError> {
        let mut own = true;
        let mut tries = self.tries();
        loop {
            let Some((mut entry, revision)) = self.of_lease(lease, own).await? else {
                return Ok(Settled::Lost);
            };
            let now = self.now();
            let change = entry.life.settle(lease.token, verdict.clone(), now);
            let settled = change.settled();
            let output = match change {
                Change::Write(Some(output)) => output,
                Change::Write(None) => self.bytes_without_output(&mut entry).await?,
                Change::Nothing(_) => {
                    self.let_go(lease);
                    return Ok(settled);
                }
            };
            match self.write(&entry, &output, revision).await? {
                Written::As(_) => {
                    self.let_go(lease);
                    let record = &entry.life.record;
                    // The attempt counts already. If this is lost, the message comes back when the
                    // lease would have run out.
                    if let Some(ack) = &entry.ack {
                        let _ = if record.state.is_finished() {
                            self.lanes.done(ack).await
                        } else {
                            let left = record.due_at.saturating_sub(now);
                            self.lanes.later(ack, Duration::from_millis(left)).await
                        };
                    }
                    return Ok(settled);
                }
                Written::Conflict => {
                    own = false;
                    tries.again().await?;
                }
            }
        }
    }

    /// Lets go of jobs that were handed out and not mentioned for a long time: the caller was gone
    /// before the answer.
    pub(crate) fn let_go_of_lost(&self, now: u64) {
        const LONG: u64 = 3_600_000;
        let is_lost = |until: u64| until.saturating_add(LONG) < now;
        self.held()
            .retain(|_, (entry, _)| !entry.life.record.lease_until.is_none_or(is_lost));
    }

    /// The job is not held any more, at least not with this lease.
    fn let_go(&self, lease: Lease) {
        let mut held = self.held();
        if let Some((entry, _)) = held.get(&lease.id) {
            if entry.life.token <= lease.token {
                held.remove(&lease.id);
            }
        }
    }
}

impl Known {
    fn of(value: Option<Value>) -> Result<Self, EngineError> {
        let Some(value) = value else {
            return Ok(Self::Never);
        };
        let Some(bytes) = value.bytes else {
            return Ok(Self::Forgotten);
        };
        let (entry, output) = entry::read(&bytes)?;
        Ok(Self::Job(Box::new(Job {
            entry,
            output: output.to_vec(),
            revision: value.revision,
            before: value.before,
        })))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Gets the stream of that name, or creates it.
pub(crate) async fn get_or_create(
    context: &Context,
    config: Config,
    timeout: Duration,
) -> Result<Stream, EngineError> {
    let make = || async {
        let made = context.get_or_create_stream(config.clone()).await;
        made.map_err(|error| match error.kind() {
            CreateStreamErrorKind::JetStream(error) => jetstream(&error),
            _ => unavailable(error),
        })
    };
    persistently(timeout, make).await
}

/// Which messages the server takes without being asked, if it takes so long ones.
fn small(max_payload: usize) -> usize {
    max_payload.min(SMALL)
}

fn records(prefix: &str) -> String {
    format!("{prefix}-records")
}

fn keys(prefix: &str) -> String {
    format!("{prefix}-keys")
}

/// The lane in which a job waits.
fn lane(record: &Record) -> Lane {
    Lane {
        kind: record.kind.clone(),
        version: record.version,
        priority: record.priority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::tests::with_marks;

    #[test]
    fn a_server_may_take_only_short_messages() {
        assert_eq!([100, 1 << 20].map(small), [100, SMALL]);
    }

    #[test]
    fn a_first_record_that_others_have_changed_is_read() {
        with_marks(3_600_000, async |store| {
            let other = Store::open(store.handle().clone(), store.settings().clone());
            let other = other.await.unwrap();
            let jobs = [(); 3].map(|()| NewJob::new("plain", 1, *b""));
            let [plain, cancelled, resumed] = jobs.each_ref().map(|job| job.id);
            store.submit(jobs.to_vec()).await.unwrap();
            let answer = other.cancel(cancelled).await.unwrap();
            assert_eq!(answer, CancelAnswer::Dequeued);
            // Another process has taken it, and given it back.
            let fetch = Fetch::new("test", vec![("plain".to_owned(), 1)]);
            let fetch = fetch.patience(Duration::from_secs(10)).max(1);
            let first = other.fetch(&fetch).await.unwrap().remove(0).lease;
            assert_eq!(first.id, plain);
            let released = other.settle(vec![(first, Verdict::Release)]).await.unwrap();
            assert_eq!(released, [Settled::Recorded]);

            let mut fetched = Vec::new();
            while fetched.len() < 2 {
                let jobs = store.fetch(&fetch).await.unwrap();
                fetched.extend(jobs.into_iter().map(|job| (job.lease.id, job.lease.token)));
            }
            fetched.sort_unstable();
            assert_eq!(fetched, [(plain, 2), (resumed, 1)]);
            let cancelled = store.status(cancelled).await.unwrap().unwrap();
            assert_eq!(cancelled.state, JobState::Cancelled);
            // Each revision is used once, also by the job that was not taken.
            assert_eq!(store.first.of(plain), None);
            assert_eq!(store.first.of(cancelled.id), None);
        });
    }

    #[test]
    fn an_end_is_recorded_though_the_arguments_cannot_be_read() {
        with_marks(3_600_000, async |store| {
            let job = NewJob::new("plain", 1, *b"");
            let id = job.id;
            store.submit(vec![job]).await.unwrap();
            let Known::Job(mut job) = store.known(id).await.unwrap() else {
                panic!("it is not known");
            };
            let subject = lane(&job.entry.life.record).subject(store.prefix());
            let sent = store.context.publish(subject, "no job".into());
            job.entry.message = Some(sent.await.unwrap().await.unwrap().sequence);
            let written = store.write(&job.entry, &[], job.revision).await.unwrap();
            assert_ne!(written, Written::Conflict);
            assert_eq!(store.cancel(id).await.unwrap(), CancelAnswer::Dequeued);
            let error = store.retry(id).await.unwrap_err();
            assert!(error.is_refusal(), "{error}");
        });
    }

    /// The server does not answer reads of records: their bucket allows none.
    #[test]
    fn a_job_that_this_process_submitted_is_taken_without_a_read() {
        with_marks(3_600_000, async |store| {
            let job = NewJob::new("plain", 1, *b"");
            let id = job.id;
            store.submit(vec![job]).await.unwrap();
            let mut config = store.records().stream.cached_info().config.clone();
            config.allow_direct = false;
            store.records().change(config).await;
            let fetch = Fetch::new("test", vec![("plain".to_owned(), 1)]);
            let fetch = fetch.patience(Duration::from_secs(1)).max(1);
            let fetched = store.fetch(&fetch).await.unwrap();
            assert_eq!(fetched[0].lease.id, id);
        });
    }
}
