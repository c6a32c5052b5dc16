//! The rules JB-1 to JB-7: the cases pass on every runtime, and each of them fails on a manager
//! with the fault that it looks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    sync::{Arc, Mutex, mpsc},
    task::{Wake, Waker},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fourway_jobs::{
    CancelOutcome, CancellationToken, Clock, JobId, JobState, ManualClock, Missed,
    acceptance::{
        self, Attempt, Body, Case, Factory, Manager, Outcome, Refusal, ScheduledBody, Settings,
        Snapshot, TestJob, Transition, Value,
    },
};
use fourway_testing::{any, each};

#[test]
fn the_manager_keeps_the_rules_on_every_runtime() {
    each(|rt| acceptance::check(&acceptance::job_manager(&rt)));
}

/// Each fault, what a manager with it does, and the cases that find it.
const FAULTS: &[(Fault, &str, &[&str])] = &[
    (
        Fault::AcceptsNothingWhilePaused,
        "refuses jobs while it is paused",
        &["JB-1.1"],
    ),
    (
        Fault::IdTwice,
        "gives the id of one job to another",
        &["JB-1.1"],
    ),
    (
        Fault::NoLimitOfTheQueue,
        "takes jobs without end",
        &["JB-1.2"],
    ),
    (
        Fault::RunsWhatItRefuses,
        "runs a job that it has refused",
        &["JB-1.2"],
    ),
    (
        Fault::LosesJobs,
        "cancels an accepted job now and then",
        &["JB-1.3"],
    ),
    (Fault::RunsTwice, "runs a body twice", &["JB-1.3"]),
    (
        Fault::NoLimit,
        "runs more jobs at a time than its limit",
        &["JB-1.4"],
    ),
    (
        Fault::OneAtATime,
        "runs one job at a time, whatever its limit",
        &["JB-1.4"],
    ),
    (Fault::NoPriority, "ignores priorities", &["JB-1.5"]),
    (
        Fault::Starves,
        "lets jobs of a higher priority go first for ever",
        &["JB-1.5"],
    ),
    (
        Fault::StatesOutOfOrder,
        "tells the states in another order",
        &["JB-2.1"],
    ),
    (
        Fault::StateIsMissing,
        "never tells that a job runs",
        &["JB-2.1"],
    ),
    (
        Fault::CrashesOnUnknown,
        "panics when it is asked for an id that it does not know",
        &["JB-2.2"],
    ),
    (
        Fault::KnowsUnknown,
        "has a status for an id that it never gave",
        &["JB-2.2"],
    ),
    (
        Fault::TornSnapshots,
        "takes a status from two moments",
        &["JB-2.3"],
    ),
    (
        Fault::KeepsAll,
        "forgets no job that has ended",
        &["JB-2.4"],
    ),
    (
        Fault::LeaksResults,
        "keeps the values of jobs that it has forgotten",
        &["JB-2.4"],
    ),
    (
        Fault::ValueComesLate,
        "says completed before the value is there",
        &["JB-2.5"],
    ),
    (
        Fault::OneReaderAtATime,
        "has the value for one of those that ask at the same time",
        &["JB-2.5"],
    ),
    (
        Fault::TellsTheLastOnly,
        "tells the last waiter of a job, and no other",
        &["JB-2.6"],
    ),
    (
        Fault::CancelledRuns,
        "runs a job that was cancelled while it waited",
        &["JB-3.1"],
    ),
    (
        Fault::CancelledIsKept,
        "keeps the captures of a cancelled job",
        &["JB-3.1"],
    ),
    (
        Fault::FutureIsKept,
        "lets a running future go on after it was cancelled",
        &["JB-3.2"],
    ),
    (
        Fault::FreesSlot,
        "gives the slot of a cancelled closure away while it runs",
        &["JB-3.3"],
    ),
    (
        Fault::HidesCancelling,
        "does not show that a running job was asked to end",
        &["JB-3.3"],
    ),
    (
        Fault::SaysNothingOfTheEnd,
        "says of a job that has ended that it is cancelled",
        &["JB-3.4"],
    ),
    (Fault::NoTimeout, "ignores timeouts", &["JB-3.5"]),
    (
        Fault::LosesErrors,
        "forgets why a job has failed",
        &["JB-4.1", "JB-4.2", "JB-4.4"],
    ),
    (
        Fault::DiesOfPanics,
        "loses its worker by a panic",
        &["JB-4.2"],
    ),
    (
        Fault::LostOnRetry,
        "never runs a job again that it shows as retrying",
        &["JB-4.3", "JB-4.4"],
    ),
    (
        Fault::FirstAttemptAlways,
        "tells the body of each attempt that it is the first",
        &["JB-4.3", "JB-4.4"],
    ),
    (
        Fault::OneMoreAttempt,
        "tries once more than it was asked to",
        &["JB-4.4"],
    ),
    (
        Fault::DrainCancelsAll,
        "cancels at once what a drain should let end",
        &["JB-5.1"],
    ),
    (
        Fault::DrainReportsHalf,
        "reports half of the fates",
        &["JB-5.1", "JB-5.2"],
    ),
    (
        Fault::DrainReportsTwice,
        "reports each fate twice",
        &["JB-5.1"],
    ),
    (
        Fault::DrainLeavesWaiting,
        "leaves the jobs as they are when a drain's time is over",
        &["JB-5.2"],
    ),
    (
        Fault::DrainReportsToOne,
        "reports the fates to the first of several drains",
        &["JB-5.3"],
    ),
    (
        Fault::NotUnique,
        "ignores unique keys",
        &["JB-6.1", "JB-6.2"],
    ),
    (
        Fault::UniqueForEver,
        "never frees a unique key",
        &["JB-6.1"],
    ),
    (
        Fault::SkipsRuns,
        "skips a run of a schedule now and then",
        &["JB-7.1"],
    ),
    (
        Fault::NeverMakesUp,
        "makes up for no missed run",
        &["JB-7.2"],
    ),
    (
        Fault::MakesUpForAll,
        "makes up for each missed run where one is asked for",
        &["JB-7.2"],
    ),
    (
        Fault::DoublesRuns,
        "runs once more when the clock is set back",
        &["JB-7.3"],
    ),
];

#[test]
fn each_case_finds_a_manager_that_is_broken_there() {
    let rt = any();
    for (fault, _, cases) in FAULTS {
        let broken = BrokenFactory {
            whole: Arc::new(acceptance::job_manager(&rt)),
            fault: *fault,
        };
        let few: Vec<Case> = acceptance::cases()
            .iter()
            .filter(|case| cases.contains(&case.number))
            .copied()
            .collect();
        assert_eq!(few.len(), cases.len(), "there are such cases: {cases:?}");
        let failed = acceptance::run(&broken, &few, Duration::from_secs(1));
        let found: Vec<_> = failed.iter().map(|failed| failed.number).collect();
        assert_eq!(found, *cases, "what finds {fault:?}: {failed:?}");
    }
}

#[test]
fn no_case_passes_everything() {
    let found: BTreeSet<_> = FAULTS.iter().flat_map(|(_, _, cases)| *cases).collect();
    let all: BTreeSet<_> = acceptance::cases()
        .iter()
        .map(|case| &case.number)
        .collect();
    assert_eq!(found, all);
}

/// `docs/JOBS.md` has the cases, and the managers above.
#[test]
fn what_is_recorded_is_so() {
    let mut text = format!(
        "# Job managers\n\n\
         The cases of `fourway_jobs::acceptance`, which hold a job manager to the rules JB-1 to JB-7 of the\n\
         [contract](CONTRACT.md#jobs), and broken managers, of which each has one bug. `cargo test -p\n\
         fourway-jobs --test acceptance` runs the cases on every runtime, where all of them pass, and on\n\
         each broken manager, where those fail that are named here and no other of them. Each of the {}\n\
         cases is failed by at least one of the {} managers.\n\n\
         ## Cases\n\n| case | |\n|---|---|\n",
        acceptance::cases().len(),
        FAULTS.len(),
    );
    for case in acceptance::cases() {
        let _ = writeln!(text, "| {} | {} |", case.number, case.name);
    }
    text += "\n## Broken managers\n\n| manager | it | failed by it |\n|---|---|---|\n";
    for (fault, what, cases) in FAULTS {
        let _ = writeln!(text, "| `{fault:?}` | {what} | {} |", cases.join(", "));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/JOBS.md");
    if std::env::var_os("FOURWAY_CONFORMANCE_UPDATE").is_some() {
        fs::write(path, &text).unwrap();
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == text,
        "docs/JOBS.md is out of date: run `FOURWAY_CONFORMANCE_UPDATE=1 cargo test -p fourway-jobs \
         --test acceptance recorded`"
    );
}

#[test]
fn what_went_wrong_is_said() {
    let broken = BrokenFactory {
        whole: Arc::new(acceptance::job_manager(&any())),
        fault: Fault::RunsTwice,
    };
    let failed = acceptance::run(&broken, acceptance::cases(), Duration::from_secs(1));
    let case = failed.iter().find(|failed| failed.number == "JB-1.3");
    let said = case.expect("it fails").to_string();
    assert!(
        said.starts_with("JB-1.3 no job is lost, none runs twice: "),
        "{said}"
    );
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    AcceptsNothingWhilePaused,
    IdTwice,
    NoLimitOfTheQueue,
    RunsWhatItRefuses,
    LosesJobs,
    RunsTwice,
    NoLimit,
    OneAtATime,
    NoPriority,
    Starves,
    StatesOutOfOrder,
    StateIsMissing,
    CrashesOnUnknown,
    KnowsUnknown,
    TornSnapshots,
    KeepsAll,
    LeaksResults,
    ValueComesLate,
    OneReaderAtATime,
    TellsTheLastOnly,
    CancelledRuns,
    CancelledIsKept,
    FutureIsKept,
    FreesSlot,
    HidesCancelling,
    SaysNothingOfTheEnd,
    NoTimeout,
    LosesErrors,
    DiesOfPanics,
    LostOnRetry,
    FirstAttemptAlways,
    OneMoreAttempt,
    DrainCancelsAll,
    DrainReportsHalf,
    DrainReportsTwice,
    DrainLeavesWaiting,
    DrainReportsToOne,
    NotUnique,
    UniqueForEver,
    SkipsRuns,
    NeverMakesUp,
    MakesUpForAll,
    DoublesRuns,
}

struct BrokenFactory {
    whole: Arc<dyn Factory>,
    fault: Fault,
}

/// The whole manager, with one fault.
struct Broken {
    whole: Box<dyn Manager>,
    fault: Fault,
    state: Mutex<State>,
    clock: Option<ManualClock>,
    leaked: Arc<Mutex<Vec<Value>>>,
}

#[derive(Default)]
struct State {
    paused: bool,
    submitted: Vec<JobId>,
    /// Closures that run on, or are kept, although their job is cancelled.
    spare: BTreeMap<JobId, Shared>,
    unique: BTreeMap<String, JobId>,
    /// Jobs whose value was asked for, or is at the moment.
    asked: BTreeSet<JobId>,
    /// How many waiters have come.
    waited: usize,
    drained: bool,
}

impl Factory for BrokenFactory {
    fn manager(&self, mut settings: Settings) -> Box<dyn Manager> {
        match self.fault {
            Fault::NoLimitOfTheQueue => settings.queue_limit = usize::MAX,
            Fault::NoLimit => settings.concurrency = 100,
            Fault::OneAtATime => settings.concurrency = 1,
            Fault::Starves => settings.ageing = Duration::from_secs(1_000_000),
            Fault::KeepsAll => settings.keep = usize::MAX,
            _ => {}
        }
        Box::new(Broken {
            clock: settings.clock.clone(),
            whole: self.whole.manager(settings),
            fault: self.fault,
            state: Mutex::default(),
            leaked: Arc::default(),
        })
    }
}

/// Calls `with` for each attempt of a closure, and of a future when it is made.
fn each_attempt(body: Body, mut with: impl FnMut(&mut Attempt) + Send + 'static) -> Body {
    match body {
        Body::Async(mut make) => Body::Async(Box::new(move |mut attempt| {
            with(&mut attempt);
            make(attempt)
        })),
        Body::Blocking(mut closure) => Body::closure(move |mut attempt| {
            with(&mut attempt);
            closure(attempt)
        }),
    }
}

impl Broken {
    fn change(&self, job: &mut TestJob) {
        let body = std::mem::replace(&mut job.body, Body::closure(|_| Err(String::new())));
        job.body = match (self.fault, body) {
            (Fault::RunsTwice, Body::Blocking(mut closure)) => Body::closure(move |attempt| {
                let _ = closure(attempt.clone());
                closure(attempt)
            }),
            (Fault::FreesSlot, Body::Blocking(closure)) => freed(closure),
            (Fault::FutureIsKept, Body::Async(mut make)) => Body::Async(Box::new(move |attempt| {
                let mut future = Some(make(attempt));
                Box::pin(std::future::poll_fn(move |cx| {
                    let poll = future.as_mut().expect("polled once").as_mut().poll(cx);
                    if poll.is_pending() {
                        // The other owner has it from now on.
                        std::mem::forget(future.take());
                        future = Some(Box::pin(std::future::pending()));
                    }
                    poll
                }))
            })),
            (Fault::LeaksResults, Body::Blocking(mut closure)) => {
                let leaked = self.leaked.clone();
                Body::closure(move |attempt| {
                    let outcome: Outcome = closure(attempt);
                    leaked.lock().unwrap().extend(outcome.iter().cloned());
                    outcome
                })
            }
            (Fault::FirstAttemptAlways, body) => each_attempt(body, |attempt| {
                *attempt = Attempt::new(1, attempt.token.clone());
            }),
            (_, body) => body,
        };
        match self.fault {
            Fault::NoPriority => job.priority = 0,
            Fault::NoTimeout => job.timeout = None,
            Fault::NotUnique => job.unique = None,
            Fault::LostOnRetry => job.attempts = 1,
            Fault::OneMoreAttempt => job.attempts += 1,
            _ => {}
        }
    }
}

type Shared = Arc<Mutex<Box<dyn FnMut(Attempt) -> Outcome + Send>>>;

/// A body of a closure, and the same closure for another owner.
fn share(body: Body) -> (Body, Option<Shared>) {
    match body {
        Body::Blocking(closure) => {
            let shared = Arc::new(Mutex::new(closure));
            let own = shared.clone();
            let body = Body::closure(move |attempt| (own.lock().unwrap())(attempt));
            (body, Some(shared))
        }
        body => (body, None),
    }
}

fn run(shared: &Shared) {
    let _ = (shared.lock().unwrap())(Attempt::new(1, CancellationToken::new()));
}

/// A future that ends when it is cancelled, while the closure runs on.
fn freed(closure: Box<dyn FnMut(Attempt) -> Outcome + Send>) -> Body {
    let closure = Arc::new(Mutex::new(closure));
    Body::future(move |attempt| {
        let (closure, given) = (closure.clone(), attempt.clone());
        let (gives, takes) = mpsc::channel();
        thread::spawn(move || {
            let outcome = (closure.lock().unwrap())(given);
            let _ = gives.send(outcome);
        });
        async move {
            loop {
                if let Ok(outcome) = takes.try_recv() {
                    return outcome;
                }
                fourway_core::yield_now().await;
            }
        }
    })
}

impl Manager for Broken {
    fn submit(&self, mut job: TestJob) -> Result<JobId, Refusal> {
        self.change(&mut job);
        let mut state = self.state.lock().unwrap();
        if self.fault == Fault::AcceptsNothingWhilePaused && state.paused {
            return Err(Refusal::Other);
        }
        if self.fault == Fault::IdTwice && state.submitted.len() == 50 {
            return Ok(state.submitted[49]);
        }
        if self.fault == Fault::UniqueForEver {
            let known = job.unique.as_ref().and_then(|key| state.unique.get(key));
            if let Some(id) = known {
                return Ok(*id);
            }
        }
        let mut spare = None;
        let shares = [
            Fault::CancelledRuns,
            Fault::CancelledIsKept,
            Fault::RunsWhatItRefuses,
        ];
        if shares.contains(&self.fault) {
            let shared;
            (job.body, shared) = share(job.body);
            spare = shared;
        }
        let unique = job.unique.clone();
        let id = match self.whole.submit(job) {
            Ok(id) => id,
            Err(refusal) => {
                spare.inspect(run);
                return Err(refusal);
            }
        };
        if self.fault == Fault::LosesJobs && state.submitted.len() % 50 == 20 {
            self.whole.cancel(id);
        }
        if let Some(spare) = spare {
            state.spare.insert(id, spare);
        }
        if let Some(unique) = unique {
            state.unique.insert(unique, id);
        }
        state.submitted.push(id);
        Ok(id)
    }

    fn snapshot(&self, id: JobId) -> Option<Snapshot> {
        let snapshot = self.whole.snapshot(id);
        match (self.fault, snapshot) {
            (Fault::CrashesOnUnknown, None) => panic!("no such job"),
            (Fault::KnowsUnknown, None) => Some(Snapshot::new(JobState::Queued, false, 0, None)),
            (Fault::TornSnapshots, Some(mut snapshot)) => {
                if let Some(later) = self.whole.snapshot(id) {
                    snapshot.attempt = later.attempt + u32::from(later.state.is_finished());
                }
                Some(snapshot)
            }
            (Fault::HidesCancelling, Some(mut snapshot)) => {
                snapshot.cancelling = false;
                Some(snapshot)
            }
            (Fault::LosesErrors, Some(mut snapshot)) => {
                snapshot.error = None;
                Some(snapshot)
            }
            (Fault::LostOnRetry, Some(mut snapshot)) => {
                if snapshot.state == JobState::Failed {
                    snapshot.state = JobState::Retrying;
                }
                Some(snapshot)
            }
            (Fault::DiesOfPanics, Some(mut snapshot)) => {
                if snapshot.error.as_deref() == Some("dropped a cup") {
                    // Its worker is gone, and the job never ends.
                    snapshot.state = JobState::Running;
                }
                Some(snapshot)
            }
            (_, snapshot) => snapshot,
        }
    }

    fn value(&self, id: JobId) -> Option<Value> {
        let is_first = || self.state.lock().unwrap().asked.insert(id);
        match self.fault {
            Fault::ValueComesLate if is_first() => None,
            Fault::OneReaderAtATime => {
                if !is_first() {
                    return None;
                }
                let value = self.whole.value(id);
                // Long enough for the other reader to come meanwhile, so that the fault shows.
                thread::sleep(Duration::from_millis(1));
                self.state.lock().unwrap().asked.remove(&id);
                value
            }
            _ => self.whole.value(id),
        }
    }

    fn wait(&self, id: JobId) -> Option<Snapshot> {
        let mine = {
            let mut state = self.state.lock().unwrap();
            state.waited += 1;
            state.waited
        };
        let end = self.whole.wait(id);
        let last = self.state.lock().unwrap().waited;
        if self.fault == Fault::TellsTheLastOnly && mine < last {
            // Longer than any case waits for it.
            thread::sleep(Duration::from_secs(5));
            return None;
        }
        end
    }

    fn cancel(&self, id: JobId) -> Option<CancelOutcome> {
        let outcome = self.whole.cancel(id);
        match (self.fault, outcome) {
            (Fault::SaysNothingOfTheEnd, Some(_)) => Some(CancelOutcome::Cancelled),
            (Fault::CancelledRuns, Some(CancelOutcome::Cancelled)) => {
                let spare = self.state.lock().unwrap().spare.remove(&id);
                spare.iter().for_each(run);
                outcome
            }
            (_, outcome) => outcome,
        }
    }

    fn transitions(&self) -> Vec<Transition> {
        let mut transitions = self.whole.transitions();
        match self.fault {
            Fault::StatesOutOfOrder => transitions.reverse(),
            Fault::StateIsMissing => {
                transitions.retain(|transition| transition.to != JobState::Running);
            }
            _ => {}
        }
        transitions
    }

    fn pause(&self, pause: bool) {
        self.state.lock().unwrap().paused = pause;
        self.whole.pause(pause);
    }

    fn drain(&self, timeout: Duration) -> Vec<(JobId, JobState)> {
        let timeout = match self.fault {
            Fault::DrainCancelsAll => Duration::ZERO,
            _ => timeout,
        };
        if self.fault == Fault::DrainLeavesWaiting {
            thread::sleep(timeout);
            return Vec::new();
        }
        let is_second = std::mem::replace(&mut self.state.lock().unwrap().drained, true);
        if self.fault == Fault::DrainReportsToOne && is_second {
            return Vec::new();
        }
        let mut fates = self.whole.drain(timeout);
        match self.fault {
            Fault::DrainReportsHalf => fates.truncate(fates.len() / 2),
            Fault::DrainReportsTwice => fates.extend_from_within(..),
            _ => {}
        }
        fates
    }

    fn schedule(&self, every: Duration, missed: Missed, body: ScheduledBody) {
        match self.fault {
            Fault::SkipsRuns => self.whole.schedule(
                every,
                missed,
                Arc::new(move |at| {
                    if at / every.as_secs() % 3 != 0 {
                        body(at);
                    }
                }),
            ),
            Fault::NeverMakesUp => self.whole.schedule(every, Missed::Skip, body),
            Fault::MakesUpForAll => {
                let missed = Missed::Each { at_most: 1000 };
                self.whole.schedule(every, missed, body);
            }
            Fault::DoublesRuns => {
                let clock = self.clock.clone().expect("a case sets the clock");
                Doubler::watch(clock, body.clone());
                self.whole.schedule(every, missed, body);
            }
            _ => self.whole.schedule(every, missed, body),
        }
    }
}

/// Has a run for the time to which the clock is set back.
struct Doubler {
    clock: ManualClock,
    body: ScheduledBody,
    last: Mutex<SystemTime>,
}

impl Doubler {
    fn watch(clock: ManualClock, body: ScheduledBody) {
        let last = Mutex::new(clock.now());
        let doubler = Arc::new(Self { clock, body, last });
        doubler.clock.on_change(&Waker::from(doubler.clone()));
    }
}

impl Wake for Doubler {
    fn wake(self: Arc<Self>) {
        self.clock.on_change(&Waker::from(self.clone()));
        let now = self.clock.now();
        let last = std::mem::replace(&mut *self.last.lock().unwrap(), now);
        if now < last {
            (self.body)(now.duration_since(UNIX_EPOCH).unwrap().as_secs());
        }
    }
}
