//! Job managers, each through a simulated week of jobs, schedules, retries, timeouts and
//! cancellations, on a machine that is suspended now and then.

mod numbers;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use fourway_core::{BlockOn, Call, Timer, cancel};
use fourway_jobs::{
    Clock, EventKind, Job, JobContext, JobId, JobManager, JobState, Missed, Occurrence, Overlap,
    Retry, Schedule,
};
use fourway_sim::{self as sim, Check, Faults, Sim};
use fourway_testing::Counter;
use numbers::Numbers;

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The simulation's time, on a machine that may be suspended: then the wall clock goes on alone.
#[derive(Clone)]
struct Machine {
    rt: Sim,
    origin: Instant,
    suspended: Arc<AtomicU64>,
}

impl Machine {
    fn new(rt: &Sim) -> Self {
        Self {
            rt: rt.clone(),
            origin: rt.now(),
            suspended: Arc::default(),
        }
    }
}

impl Clock for Machine {
    fn now(&self) -> SystemTime {
        let suspended = Duration::from_secs(self.suspended.load(Relaxed));
        self.rt.system_time() + suspended
    }

    fn elapsed(&self) -> Duration {
        self.rt.now().saturating_duration_since(self.origin)
    }

    fn step(&self) -> Option<Duration> {
        Some(MINUTE)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine")
    }
}

/// Observations from inside of the jobs.
#[derive(Clone, Default)]
struct Watch {
    running: Counter,
    keys: Arc<Mutex<BTreeSet<u64>>>,
    /// Attempts that were begun, by job.
    begun: Arc<Mutex<BTreeMap<JobId, u32>>>,
    /// The times of runs that were begun, by schedule.
    runs: Arc<Mutex<BTreeSet<(&'static str, SystemTime)>>>,
}

/// An attempt that is running.
struct Inside {
    watch: Watch,
    key: Option<u64>,
}

impl Watch {
    fn enter(&self, job: &JobContext, key: Option<u64>) -> Inside {
        assert!(self.running.add() <= 3, "the limit was exceeded");
        if let Some(key) = key {
            assert!(self.keys.lock().unwrap().insert(key), "two of one key");
        }
        let begun = {
            let mut begun = self.begun.lock().unwrap();
            let attempts = begun.entry(job.id()).or_default();
            *attempts += 1;
            *attempts
        };
        assert_eq!(begun, job.attempt(), "an attempt is skipped or doubled");
        Inside {
            watch: self.clone(),
            key,
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.watch.running.sub();
        if let Some(key) = self.key {
            self.watch.keys.lock().unwrap().remove(&key);
        }
    }
}

/// How an attempt ends, and after how long.
#[derive(Clone, Copy)]
struct Body {
    takes: Duration,
    fails_until: u32,
    panics: bool,
    blocks: bool,
}

impl Body {
    fn end(self, attempt: u32) -> Result<u32, String> {
        if attempt <= self.fails_until {
            return Err(format!("attempt {attempt} fails"));
        }
        if self.panics {
            fourway_testing::panic_quietly("planned");
        }
        Ok(attempt)
    }
}

struct Submitted {
    id: JobId,
    not_before: Duration,
    attempts: u32,
    has_timeout: bool,
    body: Body,
    cancelled: bool,
}

fn week(rt: Sim) {
    let mut numbers = Numbers::new(rt.seed());
    let machine = Machine::new(&rt);
    let jobs = JobManager::builder(&rt)
        .concurrency(3)
        .limit_per_key("keyed", 1)
        .keep(usize::MAX, Duration::MAX)
        .clock(machine.clone())
        .build();
    let mut events = jobs.subscribe(1_000_000);
    let watch = Watch::default();

    let schedules = [
        ("backup", 6 * HOUR, 20 * MINUTE, Missed::Once, Overlap::Skip),
        ("poll", HOUR, 50 * MINUTE, Missed::Skip, Overlap::Wait),
        (
            "report",
            24 * HOUR,
            HOUR,
            Missed::Each { at_most: 3 },
            Overlap::Allow,
        ),
    ];
    let mut handles = Vec::new();
    for (name, period, takes, missed, overlap) in schedules {
        let (watch, rt) = (watch.clone(), rt.clone());
        let schedule = Schedule::every(period)
            .missed(missed)
            .overlap(overlap)
            .tolerance(3 * MINUTE);
        let first = schedule.next_after(machine.now()).expect("it has no end");
        let handle = jobs.schedule(name, schedule, move |run: Occurrence| {
            let (watch, rt) = (watch.clone(), rt.clone());
            Job::task(move |job: JobContext| {
                let (watch, rt) = (watch.clone(), rt.clone());
                async move {
                    let _inside = watch.enter(&job, None);
                    assert!(
                        watch.runs.lock().unwrap().insert((name, run.at)),
                        "a run of {name} is doubled"
                    );
                    rt.sleep(takes).await;
                }
            })
        });
        handles.push((handle.unwrap(), first, period));
    }

    let mut submitted = Vec::new();
    for n in 0..30 {
        let body = Body {
            takes: Duration::from_secs(numbers.below(3 * 3600)),
            fails_until: if numbers.one_in(3) {
                numbers.below(4) as u32
            } else {
                0
            },
            panics: numbers.one_in(10),
            blocks: numbers.one_in(2),
        };
        // All that is left of the week is time enough.
        let not_before = Duration::from_secs(numbers.below(4 * 24 * 3600));
        let attempts = 1 + numbers.below(4) as u32;
        let has_timeout = numbers.one_in(3);
        let key = numbers.one_in(3).then(|| numbers.below(3));
        // Jitter is not drawn from the seed.
        let retry = Retry::attempts(attempts).pause(10 * MINUTE).jitter(false);
        let id = if body.blocks {
            let (watch, token_of) = (watch.clone(), cancel::current);
            let job = Job::blocking(move |job: JobContext| {
                let _inside = watch.enter(&job, key);
                // If it is asked to end it does.
                token_of()
                    .sleep(body.takes)
                    .map_err(|error| error.to_string())?;
                body.end(job.attempt())
            });
            submit(&jobs, job.retry(retry), n, not_before, has_timeout, key)
        } else {
            let (watch, rt) = (watch.clone(), rt.clone());
            let job = Job::task(move |job: JobContext| {
                let (watch, rt) = (watch.clone(), rt.clone());
                async move {
                    let _inside = watch.enter(&job, key);
                    rt.sleep(body.takes).await;
                    body.end(job.attempt())
                }
            });
            submit(&jobs, job.retry(retry), n, not_before, has_timeout, key)
        };
        submitted.push(Submitted {
            id,
            not_before,
            attempts,
            has_timeout,
            body,
            cancelled: false,
        });
    }

    // A suspended machine, and a caller that changes its mind.
    let mut left = WEEK;
    while !left.is_zero() {
        let pause = Duration::from_secs(numbers.below(24 * 3600)).min(left);
        rt.block_on(rt.sleep(pause));
        left -= pause;
        if numbers.one_in(4) {
            machine
                .suspended
                .fetch_add(numbers.below(10 * 3600), Relaxed);
        }
        if numbers.one_in(2) {
            let at = numbers.below(submitted.len() as u64) as usize;
            jobs.cancel(submitted[at].id).unwrap();
            submitted[at].cancelled = true;
        }
    }
    // Time to notice the last suspension.
    rt.block_on(rt.sleep(5 * MINUTE));

    for (handle, first, period) in &handles {
        let status = handle.status();
        assert_eq!(status.error, None);
        let next = status.next_at.expect("it has no end");
        let due = next.duration_since(*first).unwrap().as_secs() / period.as_secs();
        // A run that waits for the one before is none of these yet.
        let known = status.started + status.missed + status.overlapped;
        assert!(
            known == due || known + 1 == due,
            "of {due} runs of {} {known} are known: {status:?}",
            status.name
        );
    }
    for job in &submitted {
        let status = jobs.status(job.id).unwrap();
        assert!(status.state.is_finished(), "it is never run: {status:?}");
        let may_be_cancelled = job.cancelled || status.state != JobState::Cancelled;
        assert!(may_be_cancelled, "nobody has asked for it: {status:?}");
    }
    let report = jobs.drain(2 * HOUR).wait();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(watch.running.get(), 0);

    for job in &submitted {
        let status = jobs.status(job.id).unwrap();
        let begun = watch
            .begun
            .lock()
            .unwrap()
            .get(&job.id)
            .copied()
            .unwrap_or(0);
        assert!(begun <= job.attempts, "{status:?}");
        match status.state {
            JobState::Completed => {
                assert!(
                    begun > job.body.fails_until && !job.body.panics,
                    "{status:?}"
                );
            }
            JobState::Failed => assert!(
                job.body.panics || job.body.fails_until > 0 || job.cancelled,
                "{status:?}"
            ),
            JobState::TimedOut => assert!(job.has_timeout, "{status:?}"),
            JobState::Cancelled => {}
            state => panic!("it is over, and the job {state}: {status:?}"),
        }
        if let Some(started) = status.started_at {
            let waited = started.duration_since(status.submitted_at).unwrap();
            // A delay is by the clock that does not drift, and these are times of the other.
            assert!(
                waited + waited / 1900 >= job.not_before,
                "it was started too early: {status:?}"
            );
        }
    }
    let mut states: BTreeMap<JobId, JobState> = BTreeMap::new();
    while let Some(event) = events.try_recv() {
        if let EventKind::State { from, to } = event.kind {
            assert_eq!(states.insert(event.id, to), from, "an event is missing");
            assert!(moves(from, to), "from {from:?} to {to}");
        }
    }
    assert_eq!(events.lost(), 0);
    assert!(states.values().all(|state| state.is_finished()));
}

fn submit<W, M>(
    jobs: &JobManager,
    job: Job<W>,
    n: usize,
    delay: Duration,
    has_timeout: bool,
    key: Option<u64>,
) -> JobId
where
    Job<W>: fourway_jobs::Work<M>,
{
    let mut job = job.name(format!("job {n}")).delay(delay);
    if has_timeout {
        job = job.timeout(HOUR);
    }
    if let Some(key) = key {
        job = job.class("keyed").key(key.to_string());
    }
    jobs.submit(job).unwrap().id()
}

/// Is it a way that a job may go (JB-2, states and snapshots)?
fn moves(from: Option<JobState>, to: JobState) -> bool {
    use JobState::{Cancelled, Queued, Retrying, Running, Scheduled};
    match (from, to) {
        (None, Scheduled | Queued) | (Some(Scheduled | Retrying), Queued) => true,
        (Some(Queued), Running) | (Some(Running), Retrying) => true,
        (Some(Scheduled | Queued | Retrying), Cancelled) => true,
        (Some(Running), to) => to.is_finished(),
        _ => false,
    }
}

/// More where soaks are asked for.
fn weeks(faults: Faults) {
    let seeds = match std::env::var_os("FOURWAY_SOAK_SECONDS") {
        Some(_) => 1000,
        None => 100,
    };
    let builder = Sim::builder().faults(faults);
    Check::default().seeds(seeds).with(builder).run(week);
}

#[test]
fn soak_a_week_goes_by_as_it_should() {
    weeks(Faults::none());
}

#[test]
fn soak_a_week_in_which_threads_stand_still_for_minutes() {
    weeks(
        Faults::none()
            .slow(50, MINUTE)
            .stall(1, 2 * MINUTE)
            .jitter(MS)
            .drift(500),
    );
}

/// Jobs of both kinds on a manager whose tasks, its own and the jobs', are cancelled at any await.
fn disturbed(rt: Sim) {
    let mut numbers = Numbers::new(rt.seed());
    let jobs = JobManager::builder(&rt)
        .concurrency(3)
        .limit_per_key("keyed", 1)
        .keep(usize::MAX, Duration::MAX)
        .clock(Machine::new(&rt))
        .build();
    let watch = Watch::default();
    let mut submitted = Vec::new();
    for n in 0..10 {
        let (watch, inner) = (watch.clone(), rt.clone());
        let takes = MINUTE * numbers.below(5) as u32;
        let (key, fails_until) = (numbers.one_in(3).then_some(1), numbers.below(3) as u32);
        let body = Body {
            takes,
            fails_until,
            panics: false,
            blocks: numbers.one_in(2),
        };
        let attempts = 1 + numbers.below(3) as u32;
        let retry = Retry::attempts(attempts).pause(MINUTE).jitter(false);
        let (not_before, has_timeout) = (MINUTE * numbers.below(5) as u32, numbers.one_in(3));
        let id = if body.blocks {
            let job = Job::blocking(move |job: JobContext| {
                let _inside = watch.enter(&job, key);
                cancel::current()
                    .sleep(takes)
                    .map_err(|error| error.to_string())?;
                body.end(job.attempt())
            });
            submit(&jobs, job.retry(retry), n, not_before, has_timeout, key)
        } else {
            let job = Job::task(move |job: JobContext| {
                let (watch, rt) = (watch.clone(), inner.clone());
                async move {
                    let _inside = watch.enter(&job, key);
                    rt.sleep(takes).await;
                    body.end(job.attempt())
                }
            });
            submit(&jobs, job.retry(retry), n, not_before, has_timeout, key)
        };
        submitted.push((id, attempts));
    }
    let schedule = Schedule::every(HOUR).overlap(Overlap::Allow);
    let first = jobs.schedule("hourly", schedule, |_| async {}).unwrap();
    rt.block_on(rt.sleep(12 * HOUR));
    // The task that looks at the clock is cancelled, too, and its runs come all the same.
    let status = first.status();
    assert_eq!((status.started, status.missed), (12, 0), "{status:?}");
    for (id, attempts) in submitted {
        let status = jobs.status(id).unwrap();
        assert!(status.state.is_finished(), "it is never run: {status:?}");
        let begun = watch.begun.lock().unwrap().get(&id).copied();
        assert!(begun.unwrap_or(0) <= attempts, "{status:?}");
        if status.state == JobState::Completed {
            assert!(begun.is_some(), "{status:?}");
        }
    }
    let report = jobs.drain(HOUR).wait();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(watch.running.get(), 0);
}

#[test]
fn every_job_has_an_end_if_tasks_are_cancelled_at_any_await() {
    let builder = Sim::builder().faults(Faults::none().cancel(20, [""]));
    Check::default().seeds(1000).with(builder).run(disturbed);
}

/// One at a time, and nothing that is submitted later to set it going.
fn one_after_the_other(rt: Sim) {
    let jobs = JobManager::builder(&rt).concurrency(1).build();
    let begun = rt.now();
    let handles: Vec<_> = (0..3)
        .map(|_| {
            let rt = rt.clone();
            let job = Job::task(move |_: JobContext| {
                let rt = rt.clone();
                async move { rt.sleep(MINUTE).await }
            });
            jobs.submit(job).unwrap()
        })
        .collect();
    for handle in handles {
        handle.wait().unwrap();
    }
    assert!(rt.now() - begun < 4 * MINUTE, "one has waited for too long");
}

/// The end of a job has to take the next one in line: nothing else does.
#[test]
fn a_job_that_ends_makes_room_for_the_next_one() {
    sim::check(one_after_the_other);
}

/// A job that is due soon, and is submitted while nothing is due for a day.
fn sooner_than_the_rest(rt: Sim) {
    let jobs = JobManager::builder(&rt).clock(Machine::new(&rt)).build();
    let job = || Job::blocking(|_: JobContext| ());
    let late = jobs.submit(job().delay(24 * HOUR)).unwrap();
    // Until the manager sleeps for it.
    rt.block_on(rt.sleep(MINUTE));
    let begun = rt.now();
    let soon = jobs.submit(job().delay(2 * MINUTE)).unwrap();
    soon.wait().unwrap();
    let waited = rt.now() - begun;
    assert!((2 * MINUTE..HOUR).contains(&waited), "{waited:?}");
    late.wait().unwrap();
}

#[test]
fn what_is_due_before_the_rest_does_not_wait_for_it() {
    sim::check(sooner_than_the_rest);
}
