//! Engines with one bug each, and the cases that catch them: proof that each case can fail.

mod places;

use std::{
    collections::{HashMap, HashSet},
    process::ExitCode,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime},
};

use fourway_core::AnyRuntime;
use fourway_jobs_acceptance::{Entry, Harm, Harmed, Place, Status, cases, run};
use fourway_jobs_engine::{
    Beat, CancelAnswer, Capabilities, Capability, Counts, Engine, EngineError, EngineFuture, Fetch,
    Filter, Held, JobId, Lease, Leased, MemoryEngine, NewJob, Page, Record, RetryAnswer, Settled,
    Submitted, UniqueKey, Verdict, next_id,
};
use places::{File, InMemory};

/// A bug, and the cases that have to catch it.
const BUGS: &[(&str, &[&str])] = &[
    ("forgets all when it is opened again", &["EN-1.1"]),
    ("takes the same id twice", &["EN-1.2"]),
    ("writes when it is asked again", &["EN-1.3"]),
    ("answers in another order", &["EN-1.4"]),
    ("forgets all with its server", &["EN-1.5"]),
    ("never connects again", &["EN-1.6"]),
    ("takes what its disk does not", &["EN-1.7"]),
    ("hands out a thousand alone", &["EN-1.8"]),
    ("waits for its server for ever", &["EN-1.9"]),
    ("takes keys for what is there", &["EN-1.10"]),
    ("needs all of its servers", &["EN-1.11"]),
    ("loses outputs", &["EN-2.1"]),
    (
        "asks nobody for the token",
        &["EN-2.2", "EN-2.9", "EN-2.11"],
    ),
    ("hears no verdict twice", &["EN-2.3"]),
    ("hears no heartbeat", &["EN-2.4", "EN-2.10"]),
    ("never says that a lease is lost", &["EN-2.5"]),
    ("tries nothing again", &["EN-2.6"]),
    ("counts what is given back", &["EN-2.7"]),
    ("lets no lease run out", &["EN-2.8"]),
    ("hands out what it has handed out", &["EN-2.12"]),
    ("pauses between no attempts", &["EN-2.13"]),
    // As every engine on a file does; here it stands for an engine for several machines.
    ("asks the clock of each process", &["EN-2.14"]),
    ("never hears of a large output", &["EN-2.15"]),
    ("hands out nothing of the future", &["EN-2.16"]),
    ("hands out twice what is named twice", &["EN-2.17"]),
    ("tries for ever", &["EN-3.1", "EN-3.4"]),
    ("hands out the oldest alone", &["EN-3.2"]),
    ("tries dead letters again", &["EN-3.3"]),
    ("makes up for no lost attempt", &["EN-3.5"]),
    ("cancels nothing", &["EN-4.1"]),
    ("tells no worker of a cancellation", &["EN-4.2"]),
    ("cancels what has ended", &["EN-4.3"]),
    ("fails at unknown ids", &["EN-4.4"]),
    ("forgets a cancellation with its worker", &["EN-4.5"]),
    ("cancels what it does not declare", &["EN-4.6"]),
    ("looks at keys before it writes", &["EN-4.7"]),
    ("keeps keys for ever", &["EN-4.8"]),
    ("forgets the period of keys", &["EN-4.9"]),
    ("looks at no version", &["EN-4.10"]),
    ("looks at no kind", &["EN-4.11"]),
    ("delays nothing", &["EN-4.12"]),
    ("looks at no priority", &["EN-4.13"]),
    ("leaves one out of each page", &["EN-4.14"]),
    ("lists what it does not declare", &["EN-4.15"]),
    ("loses progress", &["EN-4.16"]),
    ("forgets nothing", &["EN-4.17"]),
    ("takes bytes for text", &["EN-4.18"]),
    ("waits for nothing", &["EN-4.19"]),
    ("keeps outputs in the process", &["EN-4.20"]),
    ("has no patience", &["EN-4.21"]),
    ("takes delays that it does not declare", &["EN-4.22"]),
    ("forgets keys with their jobs", &["EN-4.23"]),
    ("takes keys that it does not declare", &["EN-4.24"]),
    ("takes priorities that it does not declare", &["EN-4.25"]),
    ("tells workers what it does not declare", &["EN-4.26"]),
    ("takes progress that it does not declare", &["EN-4.27"]),
    ("takes times that it does not declare", &["EN-4.28"]),
    ("runs again what it does not declare", &["EN-4.29"]),
    ("runs nothing again", &["EN-4.30", "EN-4.31", "EN-4.32"]),
    ("loses arguments at the end", &["EN-4.30"]),
    ("runs again beside another of its key", &["EN-4.33"]),
    ("runs again for each who asks", &["EN-4.34"]),
];

/// The cases that need processes run on a file, all others in memory.
fn entry(bug: &'static str, caught: &[&str]) -> Entry {
    let processes = |id: &str| {
        let case = cases().into_iter().find(|case| case.id == id);
        let case = case.expect("a case of that number");
        case.needs.contains(&Capability::Processes)
    };
    let entry = if caught.iter().any(|id| processes(id)) {
        Entry::new(bug, move || Box::new(BrokenPlace::new(bug, File::new())))
    } else {
        Entry::new(bug, move || {
            Box::new(BrokenPlace::new(bug, InMemory::default()))
        })
    };
    let harms = [Harm::Killed, Harm::Cut, Harm::FullDisk, Harm::Stopped];
    let entry = entry.harmed(harms, move |_| {
        Box::new(BrokenPlace::new(bug, InMemory::default()))
    });
    // A shorter wait for events that never happen.
    entry
        .elsewhere(move |rt, path| {
            Arc::new(Broken::new(bug, places::open(rt, path), Arc::default()))
        })
        .clock_elsewhere()
        .patience(Duration::from_secs(8))
}

fn main() -> ExitCode {
    let entries: Vec<_> = BUGS
        .iter()
        .map(|(bug, caught)| entry(bug, caught))
        .collect();
    // This process may be a child of one of the engines.
    if fourway_jobs_acceptance::is_child() {
        return fourway_jobs_acceptance::main(entries);
    }
    let mut free: HashSet<_> = cases().iter().map(|case| case.id).collect();
    let mut missed = Vec::new();
    // The cases must fail here, so their panic messages are not printed.
    std::panic::set_hook(Box::new(|_| {}));
    // They mostly wait.
    thread::scope(|threads| {
        let runs: Vec<_> = BUGS
            .iter()
            .zip(&entries)
            .map(|((bug, caught), entry)| {
                threads.spawn(move || {
                    let report = run(std::slice::from_ref(entry), |_, case| {
                        caught.contains(&case.id)
                    });
                    (*bug, *caught, report)
                })
            })
            .collect();
        for run in runs {
            let (bug, caught, report) = run.join().expect("a report");
            let cases = &report.subjects[0].cases;
            assert_eq!(
                cases.len(),
                caught.len(),
                "{bug}: a case has another number"
            );
            for case in cases {
                let message = case.message.as_deref().unwrap_or_default();
                let first = message.lines().next().unwrap_or_default();
                println!("{bug}: {} {:?} {first}", case.id, case.status);
                free.remove(case.id.as_str());
                // Cases that this machine cannot run, such as signals or wrong clocks, are not
                // missed.
                let unix = cases_for_unix().contains(case.id.as_str());
                let not_here = case.status == Status::Unsupported
                    && ["EN-2.14", "EN-2.16"].contains(&&*case.id);
                if case.status != Status::Fail && (cfg!(unix) || !unix) && !not_here {
                    missed.push(format!("{} does not notice an engine that {bug}", case.id));
                }
            }
        }
    });
    missed.extend(free.iter().map(|id| format!("no broken engine fails {id}")));
    for missed in &missed {
        println!("{missed}");
    }
    if missed.is_empty() {
        println!("{} broken engines are caught", BUGS.len());
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn cases_for_unix() -> HashSet<&'static str> {
    let unix = cases().into_iter().filter(|case| case.unix);
    unix.map(|case| case.id).collect()
}

struct BrokenPlace<P> {
    bug: &'static str,
    place: P,
    shared: Arc<Mutex<Shared>>,
}

/// The common state of the engines of one place.
#[derive(Default)]
struct Shared {
    keys: HashMap<String, JobId>,
    settled: HashSet<Lease>,
    cancelled: HashSet<JobId>,
    outputs: HashMap<JobId, Vec<u8>>,
    late: Vec<NewJob>,
    last: Option<Leased>,
    /// The harms that its server has now.
    harms: HashSet<Harm>,
    /// How many jobs came on a full disk, or were handed out.
    count: usize,
}

impl<P: Place> BrokenPlace<P> {
    fn new(bug: &'static str, place: P) -> Self {
        Self {
            bug,
            place,
            shared: Arc::default(),
        }
    }
}

/// As if there were a server.
impl<P: Place> Harmed for BrokenPlace<P> {
    fn begin(&self, harm: Harm) {
        self.shared.lock().unwrap().harms.insert(harm);
    }

    fn end(&self, harm: Harm) {
        let forgets = self.bug == "forgets all with its server";
        if !forgets && self.bug != "never connects again" {
            self.shared.lock().unwrap().harms.remove(&harm);
        }
    }
}

impl<P: Place> Place for BrokenPlace<P> {
    fn open(&self, rt: &AnyRuntime) -> Arc<dyn Engine> {
        let inner = if self.bug == "forgets all when it is opened again" {
            Arc::new(MemoryEngine::new(rt))
        } else {
            self.place.open(rt)
        };
        Arc::new(Broken::new(self.bug, inner, self.shared.clone()))
    }

    fn address(&self) -> Option<String> {
        self.place.address()
    }
}

#[derive(Clone)]
struct Broken {
    bug: &'static str,
    inner: Arc<dyn Engine>,
    shared: Arc<Mutex<Shared>>,
}

impl Broken {
    fn new(bug: &'static str, inner: Arc<dyn Engine>, shared: Arc<Mutex<Shared>>) -> Self {
        Self { bug, inner, shared }
    }

    fn has(&self, bug: &str) -> bool {
        // So that a misspelt bug is noticed.
        assert!(BUGS.iter().any(|(known, _)| *known == bug), "{bug}");
        self.bug == bug
    }

    async fn write_late(&self) -> Result<(), EngineError> {
        let late = std::mem::take(&mut self.shared.lock().unwrap().late);
        if !late.is_empty() {
            self.inner.submit(late).await?;
        }
        Ok(())
    }

    fn suffers(&self, harm: Harm) -> bool {
        self.shared.lock().unwrap().harms.contains(&harm)
    }

    async fn reach(&self) -> Result<(), EngineError> {
        if self.suffers(Harm::Stopped) {
            if self.has("waits for its server for ever") {
                std::future::pending::<()>().await;
            }
            return Err(EngineError::unavailable("nobody answers"));
        }
        if self.has("needs all of its servers") && self.suffers(Harm::Killed) {
            return Err(EngineError::unavailable("one of the servers is gone"));
        }
        if self.suffers(Harm::Cut) {
            return Err(EngineError::unavailable("the connection is cut"));
        }
        Ok(())
    }

    /// The token that the job has now.
    async fn token(&self, lease: Lease) -> Result<Lease, EngineError> {
        let job = self.inner.status(lease.id).await?;
        let token = job.map_or(lease.token, |job| job.attempt.into());
        Ok(Lease { token, ..lease })
    }
}

impl std::fmt::Debug for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.bug)
    }
}

impl Engine for Broken {
    fn name(&self) -> &str {
        self.bug
    }

    fn capabilities(&self) -> Capabilities {
        let has = self.inner.capabilities();
        match self.bug {
            "forgets all when it is opened again" | "forgets all with its server" => {
                has.with(Capability::Durable)
            }
            "needs all of its servers" => has.with(Capability::Replicated),
            "cancels what it does not declare" => has.without(Capability::CancelQueued),
            "lists what it does not declare" => has.without(Capability::List),
            "takes delays that it does not declare" => has.without(Capability::Delay),
            "takes keys that it does not declare" => has.without(Capability::Unique),
            "takes priorities that it does not declare" => has.without(Capability::Priority),
            "tells workers what it does not declare" => has.without(Capability::CancelRunning),
            "takes progress that it does not declare" => has.without(Capability::Progress),
            "takes times that it does not declare" => has.without(Capability::Retention),
            "runs again what it does not declare" => has.without(Capability::Retry),
            _ => has,
        }
    }

    fn submit(&self, mut jobs: Vec<NewJob>) -> EngineFuture<Vec<Submitted>> {
        let this = self.clone();
        Box::pin(async move {
            this.reach().await?;
            let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
            if this.has("takes what its disk does not") && this.suffers(Harm::FullDisk) {
                let mut shared = this.shared.lock().unwrap();
                shared.count += 1;
                if shared.count > 3 {
                    return Err(EngineError::unavailable("the disk is full"));
                }
                return Ok(ids.into_iter().map(Submitted::New).collect());
            }
            for job in &mut jobs {
                if this.has("takes the same id twice") && this.inner.status(job.id).await?.is_some()
                {
                    job.id = next_id();
                }
                if this.has("tries for ever") || this.has("hands out the oldest alone") {
                    job.max_attempts = u32::MAX;
                }
                if this.has("makes up for no lost attempt") {
                    job.lost_attempts = 0;
                }
                if this.has("delays nothing") {
                    job.delay = Duration::ZERO;
                }
                if this.has("looks at no priority") {
                    job.priority = 0;
                }
                if this.has("forgets nothing") {
                    job.keep = Duration::MAX;
                }
                if this.has("takes bytes for text") {
                    job.args = String::from_utf8_lossy(&job.args).into_owned().into_bytes();
                }
                if let Some(unique) = &mut job.unique {
                    if this.has("forgets the period of keys") {
                        unique.within = None;
                    }
                    let key = format!("{} {}", job.kind, unique.key);
                    let looks = this.has("looks at keys before it writes");
                    if looks || this.has("keeps keys for ever") {
                        let there = this.shared.lock().unwrap().keys.get(&key).copied();
                        if looks {
                            // Time enough for another worker to look as well.
                            thread::sleep(Duration::from_millis(5));
                        }
                        if let Some(there) = there {
                            return Ok(vec![Submitted::Existing(there)]);
                        }
                        this.shared.lock().unwrap().keys.insert(key, job.id);
                        job.unique = None;
                    }
                }
            }
            if this.has("writes when it is asked again") {
                this.shared.lock().unwrap().late.extend(jobs);
                return Ok(ids.into_iter().map(Submitted::New).collect());
            }
            if this.has("forgets keys with their jobs") {
                // This keeps the job for as long as its key.
                let known = this.inner.list(Filter::new()).await?;
                let ended = known.jobs.iter().filter(|job| job.state.is_finished());
                let keys: Vec<_> = ended.filter_map(|job| job.unique.clone()).collect();
                let is_free = |key: &UniqueKey| keys.contains(&key.key);
                for job in &mut jobs {
                    job.unique = job.unique.take().filter(|key| !is_free(key));
                }
            }
            if this.has("takes keys for what is there") && jobs.len() > 1 {
                let first = this.inner.submit(vec![jobs.remove(0)]).await?[0].id();
                let others = jobs.iter().map(|_| Submitted::Existing(first));
                return Ok([Submitted::New(first)].into_iter().chain(others).collect());
            }
            let mut submitted = this.inner.submit(jobs).await?;
            if this.has("takes the same id twice") {
                submitted = ids.into_iter().map(Submitted::New).collect();
            }
            if this.has("answers in another order") {
                submitted.reverse();
            }
            Ok(submitted)
        })
    }

    fn status(&self, id: JobId) -> EngineFuture<Option<Record>> {
        let this = self.clone();
        Box::pin(async move {
            this.write_late().await?;
            this.reach().await?;
            if this.has("forgets all with its server") && this.suffers(Harm::Killed) {
                return Ok(None);
            }
            let job = this.inner.status(id).await?;
            if job.is_none() && this.has("fails at unknown ids") {
                return Err(EngineError::invalid("no such job"));
            }
            Ok(job)
        })
    }

    fn result(&self, id: JobId) -> EngineFuture<Option<Vec<u8>>> {
        let this = self.clone();
        Box::pin(async move {
            if this.has("loses outputs") {
                return Ok(None);
            }
            if this.has("keeps outputs in the process") {
                return Ok(this.shared.lock().unwrap().outputs.get(&id).cloned());
            }
            this.inner.result(id).await
        })
    }

    fn wait(&self, id: JobId, patience: Duration) -> EngineFuture<Option<Record>> {
        if self.has("waits for nothing") {
            return self.inner.status(id);
        }
        self.inner.wait(id, patience)
    }

    fn cancel(&self, id: JobId) -> EngineFuture<CancelAnswer> {
        let this = self.clone();
        Box::pin(async move {
            if this.has("cancels nothing") {
                return Ok(CancelAnswer::Dequeued);
            }
            if this.has("forgets a cancellation with its worker") {
                this.shared.lock().unwrap().cancelled.insert(id);
                return Ok(CancelAnswer::Requested);
            }
            let answer = this.inner.cancel(id).await?;
            if this.has("cancels what has ended") && answer == CancelAnswer::TooLate {
                return Ok(CancelAnswer::Dequeued);
            }
            Ok(answer)
        })
    }

    fn retry(&self, id: JobId) -> EngineFuture<RetryAnswer> {
        let this = self.clone();
        Box::pin(async move {
            if this.has("runs nothing again") {
                return Ok(RetryAnswer::Queued);
            }
            Ok(match this.inner.retry(id).await? {
                RetryAnswer::KeyTaken(_) if this.has("runs again beside another of its key") => {
                    RetryAnswer::Queued
                }
                RetryAnswer::State(_) if this.has("runs again for each who asks") => {
                    let job = this.inner.status(id).await?;
                    let kind = job.map_or_else(String::new, |job| job.kind);
                    this.inner.submit(vec![NewJob::new(kind, 1, "")]).await?;
                    RetryAnswer::Queued
                }
                answer => answer,
            })
        })
    }

    fn list(&self, filter: Filter) -> EngineFuture<Page> {
        let this = self.clone();
        Box::pin(async move {
            let mut page = this.inner.list(filter).await?;
            if this.has("leaves one out of each page") && page.next.is_some() {
                page.jobs.pop();
            }
            Ok(page)
        })
    }

    fn counts(&self) -> EngineFuture<Counts> {
        self.inner.counts()
    }

    fn fetch(&self, mut fetch: Fetch) -> EngineFuture<Vec<Leased>> {
        let this = self.clone();
        Box::pin(async move {
            this.write_late().await?;
            if this.has("lets no lease run out") {
                fetch.lease = Duration::from_secs(1 << 30);
            }
            if this.has("hands out a thousand alone") {
                let mut shared = this.shared.lock().unwrap();
                shared.count += fetch.max;
                if shared.count > 1000 {
                    return Ok(Vec::new());
                }
            }
            if this.has("looks at no version") {
                fetch.kinds.iter_mut().for_each(|kind| kind.1 = u32::MAX);
            }
            if this.has("looks at no kind") {
                fetch.kinds.push(("another".to_owned(), 1));
            }
            if this.has("has no patience") {
                fetch.patience = Duration::ZERO;
            }
            if this.has("hands out the oldest alone") {
                fetch.max = 100;
            }
            let named = fetch.kinds.len();
            let mut jobs = this.inner.fetch(fetch).await?;
            if this.has("loses arguments at the end") {
                for job in jobs.iter_mut().filter(|job| job.attempt > 1) {
                    job.args.clear();
                }
            }
            if this.has("hands out twice what is named twice") && named > 1 {
                jobs.extend(jobs.clone());
            }
            if this.has("hands out nothing of the future") && !jobs.is_empty() {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let soon = now.unwrap_or_default().as_millis() as u64 + 60_000;
                let job = this.inner.status(jobs[0].lease.id).await?;
                if job.is_some_and(|job| job.submitted_at > soon) {
                    let back = jobs.iter().map(|job| (job.lease, Verdict::Release));
                    this.inner.settle(back.collect()).await?;
                    // So that the job is not fetched again at once.
                    thread::sleep(Duration::from_millis(50));
                    return Ok(Vec::new());
                }
            }
            if this.has("hands out the oldest alone") {
                jobs.sort_by_key(|job| job.lease.id);
                // The first job stays first, and no other job gets its turn.
                let head = this.shared.lock().unwrap().last.clone();
                let head = head.or_else(|| jobs.first().cloned());
                this.shared.lock().unwrap().last.clone_from(&head);
                let is_head = |job: &Leased| {
                    head.as_ref()
                        .is_some_and(|head| head.lease.id == job.lease.id)
                };
                let (keep, back): (Vec<_>, Vec<_>) = jobs.into_iter().partition(is_head);
                jobs = keep;
                let back = back.into_iter().map(|job| (job.lease, Verdict::Release));
                this.inner.settle(back.collect()).await?;
            }
            if this.has("hands out what it has handed out") && !jobs.is_empty() {
                let last = jobs.last().cloned();
                let before = std::mem::replace(&mut this.shared.lock().unwrap().last, last);
                if let Some(before) = before {
                    jobs[0] = before;
                }
            }
            Ok(jobs)
        })
    }

    fn heartbeat(&self, mut beats: Vec<Beat>, lease: Duration) -> EngineFuture<Vec<Held>> {
        let this = self.clone();
        Box::pin(async move {
            if this.has("hears no heartbeat") {
                return Ok(vec![Held::Yes; beats.len()]);
            }
            for beat in &mut beats {
                if this.has("loses progress") {
                    beat.progress = None;
                }
                if this.has("asks nobody for the token") {
                    beat.lease = this.token(beat.lease).await?;
                }
            }
            let ids: Vec<_> = beats.iter().map(|beat| beat.lease.id).collect();
            let lease = if this.has("lets no lease run out") {
                Duration::from_secs(1 << 30)
            } else {
                lease
            };
            let mut held = this.inner.heartbeat(beats, lease).await?;
            for (held, id) in held.iter_mut().zip(ids) {
                if this.has("never says that a lease is lost") {
                    *held = Held::Yes;
                }
                if this.has("tells no worker of a cancellation") && *held == Held::Cancel {
                    *held = Held::Yes;
                }
                if this.shared.lock().unwrap().cancelled.contains(&id) {
                    *held = Held::Cancel;
                }
            }
            Ok(held)
        })
    }

    fn settle(&self, mut verdicts: Vec<(Lease, Verdict)>) -> EngineFuture<Vec<Settled>> {
        let this = self.clone();
        Box::pin(async move {
            let large = |verdict: &Verdict| match verdict {
                Verdict::Complete(output) => output.len() > 1 << 20,
                _ => false,
            };
            if this.has("never hears of a large output")
                && verdicts.iter().any(|(_, verdict)| large(verdict))
            {
                // As if it were recorded, so that the worker sends no other verdict.
                return Ok(vec![Settled::Recorded; verdicts.len()]);
            }
            for (lease, verdict) in &mut verdicts {
                if this.has("asks nobody for the token") {
                    *lease = this.token(*lease).await?;
                }
                if this.has("hears no verdict twice")
                    && !this.shared.lock().unwrap().settled.insert(*lease)
                {
                    return Ok(vec![Settled::Lost]);
                }
                *verdict = match std::mem::replace(verdict, Verdict::Cancelled) {
                    Verdict::RetryLater {
                        error, timed_out, ..
                    } if this.has("tries nothing again") => Verdict::Fail { error, timed_out },
                    Verdict::RetryLater {
                        error, timed_out, ..
                    } if this.has("pauses between no attempts") => {
                        let delay = Duration::ZERO;
                        Verdict::RetryLater {
                            delay,
                            error,
                            timed_out,
                        }
                    }
                    Verdict::Release if this.has("counts what is given back") => {
                        Verdict::RetryLater {
                            delay: Duration::ZERO,
                            error: String::new(),
                            timed_out: false,
                        }
                    }
                    Verdict::DeadLetter { error } if this.has("tries dead letters again") => {
                        Verdict::RetryLater {
                            delay: Duration::ZERO,
                            error,
                            timed_out: false,
                        }
                    }
                    Verdict::Complete(output) if this.has("keeps outputs in the process") => {
                        this.shared.lock().unwrap().outputs.insert(lease.id, output);
                        Verdict::Complete(Vec::new())
                    }
                    verdict => verdict,
                };
            }
            this.inner.settle(verdicts).await
        })
    }

    fn maintain(&self) -> EngineFuture<()> {
        let this = self.clone();
        Box::pin(async move {
            this.write_late().await?;
            this.inner.maintain().await
        })
    }
}
