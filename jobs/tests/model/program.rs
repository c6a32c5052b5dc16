//! Compares the manager with a simple model, which has neither threads nor clever structures: after
//! each operation the states of all jobs must be equal. The simulation's tests run it, too.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Debug,
    time::{Duration, UNIX_EPOCH},
};

use fourway_core::{AnyRuntime, BlockOn, Call, Timer};
use fourway_jobs::{
    CancelOutcome, EventKind, Events, Job, JobContext, JobHandle, JobId, JobManager, JobState,
    JobState::{Cancelled, Completed, Failed, Queued, Retrying, Running, Scheduled, TimedOut},
    ManualClock, Retry, SubmitError,
};
use fourway_testing::{AGES, Gate};
use proptest::prelude::*;

/// In milliseconds, as all times here.
const AGEING: i64 = 10_000;
const RETRY_AFTER: i64 = 1_000;
const QUEUE_LIMIT: usize = 8;
const CLASSES: [&str; 2] = ["default", "narrow"];
/// Of the second class.
const NARROW: usize = 1;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Submit(New),
    Cancel(usize),
    Retry(usize),
    Forget(usize),
    Open(usize),
    Pause(Option<usize>),
    Resume(Option<usize>),
    Advance(i64),
}

#[derive(Clone, Debug)]
pub(crate) struct New {
    kind: Kind,
    blocking: bool,
    class: usize,
    priority: i8,
    attempts: u32,
    delay: Option<i64>,
    timeout: Option<i64>,
    unique: Option<u8>,
    after: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Value,
    Fails,
    FailsFirst,
    /// It waits for its gate.
    Waits,
}

fn new() -> impl Strategy<Value = New> {
    let kind = prop_oneof![
        2 => Just(Kind::Value),
        1 => Just(Kind::Fails),
        1 => Just(Kind::FailsFirst),
        3 => Just(Kind::Waits),
    ];
    let some = |millis: std::ops::Range<i64>| prop_oneof![3 => Just(None), 1 => millis.prop_map(|millis| Some(millis * 100))];
    let options = (
        some(1..50),
        some(1..50),
        prop::option::weighted(0.5, 0_u8..2),
        prop::option::weighted(0.25, 0_usize..100),
    );
    (
        kind,
        any_bool(),
        0..CLASSES.len(),
        -2_i8..=2,
        1_u32..4,
        options,
    )
        .prop_map(
            |(kind, blocking, class, priority, attempts, (delay, timeout, unique, after))| New {
                kind,
                blocking,
                class,
                priority,
                attempts,
                delay,
                timeout,
                unique,
                after,
            },
        )
}

fn any_bool() -> impl Strategy<Value = bool> {
    proptest::bool::ANY
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let class = || prop::option::of(0..CLASSES.len());
    prop_oneof![
        8 => new().prop_map(Op::Submit),
        2 => (0_usize..100).prop_map(Op::Cancel),
        2 => (0_usize..100).prop_map(Op::Retry),
        1 => (0_usize..100).prop_map(Op::Forget),
        5 => (0_usize..100).prop_map(Op::Open),
        1 => class().prop_map(Op::Pause),
        2 => class().prop_map(Op::Resume),
        3 => (1_i64..60).prop_map(|n| Op::Advance(n * 100)),
    ]
}

// ---------------------------------------------------------------------------
// The model

#[derive(Debug)]
struct Model {
    concurrency: usize,
    now: i64,
    paused: bool,
    class_paused: [bool; CLASSES.len()],
    jobs: Vec<Known>,
    /// For each class and priority, the jobs that wait: since when, and which.
    lines: BTreeMap<(usize, i8), VecDeque<(i64, usize)>>,
}

#[derive(Clone, Debug)]
struct Known {
    new: New,
    state: JobState,
    attempt: u32,
    /// It runs, and was asked to end in this state.
    asked: Option<JobState>,
    due: Option<i64>,
    times_out: Option<i64>,
    waits_for: Vec<usize>,
    open: bool,
    forgotten: bool,
    states: Vec<JobState>,
}

impl Model {
    fn new(concurrency: usize) -> Self {
        Self {
            concurrency,
            now: 0,
            paused: false,
            class_paused: [false; CLASSES.len()],
            jobs: Vec::new(),
            lines: BTreeMap::new(),
        }
    }

    fn set(&mut self, job: usize, state: JobState) {
        self.jobs[job].state = state;
        self.jobs[job].states.push(state);
    }

    fn queue(&mut self, job: usize) {
        self.set(job, Queued);
        let New {
            class, priority, ..
        } = self.jobs[job].new;
        let line = self.lines.entry((class, priority)).or_default();
        line.push_back((self.now, job));
    }

    fn unfinished(&self, job: usize) -> bool {
        !self.jobs[job].state.is_finished()
    }

    fn with_key(&self, key: u8) -> Option<usize> {
        (0..self.jobs.len())
            .find(|job| self.unfinished(*job) && self.jobs[*job].new.unique == Some(key))
    }

    /// The existing or the accepted job, or why there is none.
    fn submit(&mut self, new: New) -> Result<usize, &'static str> {
        if let Some(job) = new.unique.and_then(|key| self.with_key(key)) {
            return Ok(job);
        }
        let waits = |job: &&Known| matches!(job.state, Scheduled | Queued | Retrying);
        if self.jobs.iter().filter(waits).count() >= QUEUE_LIMIT {
            return Err("full");
        }
        let mut waits_for = Vec::new();
        if let Some(after) = new.after {
            if self.jobs[after].forgotten {
                return Err("dependency");
            }
            match self.jobs[after].state {
                Completed => {}
                state if state.is_finished() => return Err("dependency"),
                _ => waits_for.push(after),
            }
        }
        let number = self.jobs.len();
        let is_scheduled = new.delay.is_some() || !waits_for.is_empty();
        self.jobs.push(Known {
            due: new.delay.map(|delay| self.now + delay),
            new,
            state: Scheduled,
            attempt: 0,
            asked: None,
            times_out: None,
            waits_for,
            open: false,
            forgotten: false,
            states: Vec::new(),
        });
        if is_scheduled {
            self.set(number, Scheduled);
        } else {
            self.queue(number);
        }
        Ok(number)
    }

    fn cancel(&mut self, job: usize) -> Option<CancelOutcome> {
        let known = &mut self.jobs[job];
        if known.forgotten {
            return None;
        }
        Some(match known.state {
            state if state.is_finished() => CancelOutcome::TooLate(state),
            Running => {
                known.asked = Some(Cancelled);
                CancelOutcome::Requested
            }
            _ => {
                self.finish(job, Cancelled);
                CancelOutcome::Cancelled
            }
        })
    }

    fn retry(&mut self, job: usize) -> bool {
        let known = &self.jobs[job];
        let is_refused = known.forgotten || known.state == Completed || {
            !known.state.is_finished() && known.state != Retrying
        };
        if is_refused {
            return false;
        }
        let holder = known.new.unique.and_then(|key| self.with_key(key));
        if holder.is_some_and(|holder| holder != job) {
            return false;
        }
        self.jobs[job].due = None;
        if self.jobs[job].waits_for.is_empty() {
            self.queue(job);
        } else {
            self.set(job, Scheduled);
        }
        true
    }

    fn forget(&mut self, job: usize) -> Option<bool> {
        let known = &mut self.jobs[job];
        if known.forgotten {
            return None;
        }
        known.forgotten = known.state.is_finished();
        Some(known.forgotten)
    }

    fn finish(&mut self, job: usize, state: JobState) {
        for line in self.lines.values_mut() {
            line.retain(|(_, other)| *other != job);
        }
        self.jobs[job].due = None;
        self.set(job, state);
        for other in 0..self.jobs.len() {
            let known = &mut self.jobs[other];
            if !known.waits_for.contains(&job) {
                continue;
            }
            known.waits_for.retain(|waits_for| *waits_for != job);
            if known.state != Scheduled {
                continue;
            }
            if state != Completed {
                self.finish(other, Cancelled);
            } else if known.waits_for.is_empty() && known.due.is_none() {
                self.queue(other);
            }
        }
    }

    /// An attempt has ended.
    fn end(&mut self, job: usize, state: JobState) {
        let known = &mut self.jobs[job];
        let state = known.asked.take().unwrap_or(state);
        known.times_out = None;
        let again = known.attempt < known.new.attempts && matches!(state, Failed | TimedOut);
        if again {
            known.due = Some(self.now + RETRY_AFTER);
            self.set(job, Retrying);
        } else {
            self.finish(job, state);
        }
    }

    fn advance(&mut self, by: i64) {
        self.now += by;
        let mut due: Vec<_> = (0..self.jobs.len())
            .flat_map(|job| {
                let known = &self.jobs[job];
                let due = known.due.map(|at| (at, job, true));
                due.into_iter()
                    .chain(known.times_out.map(|at| (at, job, false)))
            })
            .filter(|(at, ..)| *at <= self.now)
            .collect();
        due.sort_unstable();
        for (_, job, is_start) in due {
            let known = &mut self.jobs[job];
            if is_start {
                known.due = None;
                if known.waits_for.is_empty() && matches!(known.state, Scheduled | Retrying) {
                    self.queue(job);
                }
            } else {
                known.times_out = None;
                known.asked.get_or_insert(TimedOut);
            }
        }
    }

    /// Makes all steps that happen by themselves, until none is left.
    fn settle(&mut self) {
        loop {
            let ended = (0..self.jobs.len()).find_map(|job| {
                let Known {
                    new,
                    state,
                    attempt,
                    asked,
                    open,
                    ..
                } = &self.jobs[job];
                if *state != Running {
                    return None;
                }
                match new.kind {
                    Kind::Waits if *open => Some((job, Completed)),
                    // A future is dropped; a closure ends when it likes.
                    Kind::Waits if asked.is_some() && !new.blocking => Some((job, Cancelled)),
                    Kind::Waits => None,
                    Kind::Value => Some((job, Completed)),
                    Kind::FailsFirst if *attempt > 1 => Some((job, Completed)),
                    Kind::Fails | Kind::FailsFirst => Some((job, Failed)),
                }
            });
            if let Some((job, state)) = ended {
                self.end(job, state);
            } else if !self.start() {
                return;
            }
        }
    }

    fn start(&mut self) -> bool {
        let running = |class: Option<usize>| {
            let runs = |job: &&Known| {
                job.state == Running && class.is_none_or(|class| job.new.class == class)
            };
            self.jobs.iter().filter(runs).count()
        };
        if self.paused || running(None) >= self.concurrency {
            return false;
        }
        let is_open = |class: usize| {
            !self.class_paused[class] && (class != NARROW || running(Some(NARROW)) == 0)
        };
        let next = self
            .lines
            .iter()
            .filter(|((class, _), _)| is_open(*class))
            .filter_map(|(line, jobs)| {
                let (since, job) = jobs.front()?;
                Some((since - i64::from(line.1) * AGEING, *job, *line))
            })
            .min();
        let Some((_, job, line)) = next else {
            return false;
        };
        self.lines
            .get_mut(&line)
            .expect("it was just there")
            .pop_front();
        let known = &mut self.jobs[job];
        known.attempt += 1;
        known.times_out = known.new.timeout.map(|timeout| self.now + timeout);
        self.set(job, Running);
        true
    }
}

// ---------------------------------------------------------------------------
// Both, side by side

struct Both {
    rt: AnyRuntime,
    model: Model,
    disturbed: bool,
    clock: ManualClock,
    jobs: JobManager,
    events: Events,
    handles: Vec<JobHandle<u32>>,
    gates: Vec<Gate>,
}

impl Both {
    fn new(rt: &AnyRuntime, concurrency: usize, disturbed: bool) -> Self {
        let clock = ManualClock::new(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let jobs = JobManager::builder(rt)
            .concurrency(concurrency)
            .queue_limit(QUEUE_LIMIT)
            .limit(CLASSES[NARROW], 1)
            .ageing(Duration::from_millis(AGEING as u64))
            .clock(clock.clone())
            .build();
        Self {
            rt: rt.clone(),
            model: Model::new(concurrency),
            disturbed,
            events: jobs.subscribe(100_000),
            clock,
            jobs,
            handles: Vec::new(),
            gates: Vec::new(),
        }
    }

    fn id(&self, job: usize) -> JobId {
        self.handles[job].id()
    }

    fn submit(&mut self, mut new: New) {
        // With several jobs at a time, the order of their ends is not defined, nor is the order in
        // which their dependents are queued.
        let count = self.handles.len();
        new.after = new
            .after
            .filter(|_| self.model.concurrency == 1 && count > 0)
            .map(|after| after % count);
        let gate = Gate::default();
        let submitted = self.submit_job(&new, gate.clone());
        if self.disturbed {
            match submitted {
                Ok(handle) if handle.was_there() => {}
                Ok(handle) => {
                    self.handles.push(handle);
                    self.gates.push(gate);
                }
                Err(error) => assert!(error.is_full() || error.is_dependency(), "{error}"),
            }
            return;
        }
        match (submitted, self.model.submit(new)) {
            (Ok(handle), Ok(number)) if number < self.handles.len() => {
                assert!(handle.was_there());
                assert_eq!(handle.id(), self.id(number));
            }
            (Ok(handle), Ok(_)) => {
                assert!(!handle.was_there());
                self.handles.push(handle);
                self.gates.push(gate);
            }
            (Err(error), Err("full")) => assert!(error.is_full(), "{error}"),
            (Err(error), Err(_)) => assert!(error.is_dependency(), "{error}"),
            (found, expected) => panic!("{found:?}, and not {expected:?}"),
        }
    }

    fn submit_job(&self, new: &New, gate: Gate) -> Result<JobHandle<u32>, SubmitError> {
        let kind = new.kind;
        let ends = move |attempt: u32| match kind {
            Kind::Fails => Err("it fails"),
            Kind::FailsFirst if attempt == 1 => Err("it fails first"),
            _ => Ok(attempt),
        };
        if new.blocking {
            let rt = self.rt.clone();
            let job = Job::blocking(move |job: JobContext| {
                if kind == Kind::Waits {
                    rt.block_on(gate.pass());
                }
                ends(job.attempt())
            });
            self.submit_with(new, job.retry(retry(new)))
        } else {
            let job = Job::task(move |job: JobContext| {
                let gate = gate.clone();
                async move {
                    if kind == Kind::Waits {
                        gate.pass().await;
                    }
                    ends(job.attempt())
                }
            });
            self.submit_with(new, job.retry(retry(new)))
        }
    }

    fn submit_with<W, M>(&self, new: &New, mut job: Job<W>) -> Result<JobHandle<u32>, SubmitError>
    where
        W: fourway_jobs::Work<M, Value = u32>,
        M: 'static,
    {
        let millis = |millis: i64| Duration::from_millis(millis as u64);
        job = job.class(CLASSES[new.class]).priority(new.priority);
        if let Some(delay) = new.delay {
            job = job.delay(millis(delay));
        }
        if let Some(timeout) = new.timeout {
            job = job.timeout(millis(timeout));
        }
        if let Some(key) = new.unique {
            job = job.unique(format!("key {key}"));
        }
        self.jobs
            .submit(job.after(new.after.map(|after| self.id(after))))
    }

    fn step(&mut self, op: Op) {
        let count = self.handles.len();
        match op {
            Op::Submit(new) => self.submit(new),
            Op::Pause(class) => {
                self.jobs.pause(class.map(|class| CLASSES[class]));
                self.set_paused(class, true);
            }
            Op::Resume(class) => {
                self.jobs.resume(class.map(|class| CLASSES[class]));
                self.set_paused(class, false);
            }
            Op::Advance(by) => {
                self.clock.advance(Duration::from_millis(by as u64));
                self.model.advance(by);
                // Gives the manager time to notice. A due job that waits for another job looks as
                // before, and enters the queue only when the manager notices.
                self.rt.block_on(self.rt.sleep(Duration::from_millis(5)));
            }
            _ if count == 0 => {}
            Op::Cancel(job) => {
                let job = job % count;
                let outcome = self.jobs.cancel(self.id(job)).ok();
                self.agree(outcome, |model| model.cancel(job));
            }
            Op::Retry(job) => {
                let job = job % count;
                let retried = self.jobs.retry(self.id(job)).is_ok();
                self.agree(retried, |model| model.retry(job));
            }
            Op::Forget(job) => {
                let job = job % count;
                let forgotten = self.jobs.forget(self.id(job)).ok();
                self.agree(forgotten, |model| model.forget(job));
            }
            Op::Open(job) => {
                let job = job % count;
                self.gates[job].open();
                if !self.disturbed {
                    self.model.jobs[job].open = true;
                }
            }
        }
        self.model.settle();
    }

    /// Compares a result with the model's.
    fn agree<T: PartialEq + Debug>(&mut self, found: T, model: impl FnOnce(&mut Model) -> T) {
        if !self.disturbed {
            assert_eq!(found, model(&mut self.model));
        }
    }

    /// Waits until `so` holds, at most for ages. Returns whether it holds.
    fn becomes(&self, so: impl Fn() -> bool) -> bool {
        // By the runtime's clock: in a simulation, its time advances during this wait.
        let end = self.rt.now() + patience();
        while !so() {
            if self.rt.now() > end {
                return false;
            }
            self.rt.block_on(self.rt.sleep(Duration::from_micros(50)));
        }
        true
    }

    fn set_paused(&mut self, class: Option<usize>, paused: bool) {
        match class {
            None => self.model.paused = paused,
            Some(class) => self.model.class_paused[class] = paused,
        }
    }

    /// The expected and the actual state of each job.
    fn states(&self) -> (Vec<Seen>, Vec<Seen>) {
        let expected = self.model.jobs.iter().map(|job| {
            let seen = (job.state, job.attempt, job.asked.is_some());
            (!job.forgotten).then_some(seen)
        });
        let found = self.handles.iter().map(|handle| {
            let status = handle.status()?;
            Some((status.state, status.attempt, status.cancelling))
        });
        (expected.collect(), found.collect())
    }

    fn compare(&mut self, op: &str) {
        let same = || {
            let (expected, found) = self.states();
            expected == found
        };
        if !self.becomes(same) {
            let (expected, found) = self.states();
            panic!(
                "after {op}: {found:?}, and not {expected:?}; {:#?}",
                self.model
            );
        }
        let counts = self.jobs.overview().counts;
        for state in JobState::ALL {
            let known = |job: &&Known| !job.forgotten && job.state == state;
            let expected = self.model.jobs.iter().filter(known).count();
            assert_eq!(counts.of(state), expected as u64, "{state} jobs");
        }
    }

    /// Each job has gone through these states.
    fn check_events(&mut self) {
        let mut found: BTreeMap<JobId, Vec<JobState>> = BTreeMap::new();
        while let Some(event) = self.events.try_recv() {
            if let EventKind::State { from, to } = event.kind {
                let states = found.entry(event.id).or_default();
                assert_eq!(states.last().copied(), from);
                states.push(to);
            }
        }
        for (job, known) in self.model.jobs.iter().enumerate() {
            assert_eq!(
                found[&self.id(job)],
                known.states,
                "the states of job {job}"
            );
        }
    }

    fn end(mut self) {
        self.gates.iter().for_each(Gate::open);
        // The clock stands still: scheduled jobs are cancelled.
        let report = self.jobs.drain_with(Duration::ZERO, AGES).wait();
        assert!(report.is_clean());
        for (id, state) in report.fates {
            let known = self.handles.iter().position(|handle| handle.id() == id);
            let known = known.expect("it was submitted");
            assert!(self.disturbed || self.model.unfinished(known));
            assert!(state.is_finished());
        }
        let have_ended = || self.jobs.overview().counts.unfinished() == 0;
        assert!(self.becomes(have_ended), "some do not end");
        let mut last = BTreeMap::new();
        while let Some(event) = self.events.try_recv() {
            if let EventKind::State { to, .. } = event.kind {
                last.insert(event.id, to);
            }
        }
        assert!(last.values().all(|state| state.is_finished()), "{last:?}");
    }
}

/// Less of it helps to make an example small.
fn patience() -> Duration {
    let millis = std::env::var("MODEL_PATIENCE_MS")
        .ok()
        .and_then(|text| text.parse().ok());
    millis.map_or(AGES, Duration::from_millis)
}

type Seen = Option<(JobState, u32, bool)>;

fn retry(new: &New) -> Retry {
    Retry::attempts(new.attempts)
        .pause(Duration::from_millis(RETRY_AFTER as u64))
        .factor(1.0)
        .jitter(false)
}

/// If `disturbed`, the manager's tasks, including those of jobs, may be cancelled at any time. The
/// model does not know that, so the check is only that each job ends.
pub(crate) fn check(rt: &AnyRuntime, concurrency: usize, ops: Vec<Op>, disturbed: bool) {
    let mut both = Both::new(rt, concurrency, disturbed);
    for op in ops {
        let name = format!("{op:?}");
        both.step(op);
        if !disturbed {
            both.compare(&name);
        }
    }
    if !disturbed {
        both.check_events();
    }
    both.end();
}
