//! The tools of the cases: [`Scene`].

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use fourway_core::{AnyRuntime, BlockOn, Timer};
use fourway_jobs_engine::{
    AttemptEnd, Beat, Engine, EngineError, EngineFuture, Fetch, Held, JobId, JobState, Lease,
    Leased, NewJob, Record, Settled, Submitted, Verdict,
};
use fourway_std_thread::StdThread;

use crate::entry::{Entry, Harm, Harmed, Place};

/// A lease that is meant to run out.
pub(crate) const BRIEF: Duration = Duration::from_millis(1);

/// The kind that cases without handlers use.
pub(crate) const KIND: &str = "acceptance";

/// A place without jobs, with an engine on it. Each request fails the case if the engine gives an
/// error or does not answer.
pub(crate) struct Scene<'a> {
    pub(crate) entry: &'a Entry,
    /// For how long to wait for what must happen.
    pub(crate) ages: Duration,
    pub(crate) rt: AnyRuntime,
    pub(crate) engine: Arc<dyn Engine>,
    // Last, as it must be dropped after its users.
    place: Ground,
}

enum Ground {
    Sound(Box<dyn Place>),
    Harmed(Box<dyn Harmed>),
}

impl Ground {
    fn get(&self) -> &dyn Place {
        match self {
            Self::Sound(place) => &**place,
            Self::Harmed(place) => &**place,
        }
    }
}

impl<'a> Scene<'a> {
    pub(crate) fn new(entry: &'a Entry) -> Self {
        Self::on(entry, Ground::Sound((entry.place)()))
    }

    pub(crate) fn for_case(entry: &'a Entry, harm: Option<Harm>) -> Self {
        match (harm, &entry.harmed) {
            (Some(harm), Some(place)) => Self::on(entry, Ground::Harmed(place(harm))),
            _ => Self::new(entry),
        }
    }

    fn on(entry: &'a Entry, place: Ground) -> Self {
        let rt = AnyRuntime::new(StdThread::new().expect("a runtime"));
        let engine = place.get().open(&rt);
        Self {
            entry,
            ages: entry.ages,
            rt,
            engine,
            place,
        }
    }

    pub(crate) fn place(&self) -> &dyn Place {
        self.place.get()
    }

    pub(crate) fn harmed(&self) -> &dyn Harmed {
        match &self.place {
            Ground::Harmed(place) => &**place,
            Ground::Sound(_) => unreachable!("the case says which harm it needs"),
        }
    }

    /// Asks until the engine can be used.
    pub(crate) fn again<T>(&self, ask: impl Fn() -> EngineFuture<T>) -> T {
        let end = Instant::now() + self.ages;
        loop {
            match self.try_run(ask()) {
                Ok(answer) => return answer,
                Err(error) => {
                    assert!(
                        error.is_unavailable(),
                        "it may not be better later: {error}"
                    );
                    assert!(Instant::now() < end, "it is never better: {error}");
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn run<T>(&self, future: impl Future<Output = Result<T, EngineError>>) -> T {
        let answer = self.try_run(future);
        answer.unwrap_or_else(|error| panic!("the engine failed: {error}"))
    }

    pub(crate) fn try_run<T>(
        &self,
        future: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let answer = self.rt.block_on(self.rt.timeout(self.ages, future));
        answer.expect("the engine did not answer for ages")
    }

    /// Something happens while the request waits.
    pub(crate) fn meanwhile<T>(&self, mut asked: EngineFuture<T>, happens: impl FnOnce()) -> T {
        let first = self
            .rt
            .block_on(poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx))));
        assert!(first.is_pending(), "it waits for what has not happened");
        happens();
        self.run(asked)
    }

    pub(crate) fn submit(&self, job: NewJob) -> JobId {
        let submitted = self.run(self.engine.submit(vec![job.clone()]));
        assert_eq!(
            submitted,
            [Submitted::New(job.id)],
            "what submitting answered"
        );
        job.id
    }

    /// A plain job.
    pub(crate) fn job(&self) -> JobId {
        self.submit(NewJob::new(KIND, 1, *b"args"))
    }

    pub(crate) fn status(&self, id: JobId) -> Record {
        let job = self.run(self.engine.status(id));
        job.unwrap_or_else(|| panic!("job {id} is not known"))
    }

    pub(crate) fn state(&self, id: JobId) -> JobState {
        self.status(id).state
    }

    /// One job of the kind, at once or after a while.
    pub(crate) fn fetch(&self, lease: Duration) -> Leased {
        let fetch = fetch(1, lease).patience(self.ages);
        let mut jobs = self.run(self.engine.fetch(fetch));
        assert_eq!(jobs.len(), 1, "how many jobs were fetched");
        jobs.remove(0)
    }

    /// The same, from a server that was harmed.
    pub(crate) fn fetch_again(&self, lease: Duration) -> Leased {
        let fetch = fetch(1, lease).patience(self.ages / 2);
        let mut jobs = self.again(|| self.engine.fetch(fetch.clone()));
        assert_eq!(jobs.len(), 1, "how many jobs were fetched");
        jobs.remove(0)
    }

    /// So many jobs. An engine of several servers may need a moment until one that was submitted is
    /// there for workers.
    pub(crate) fn fetch_all(&self, count: usize) -> Vec<Leased> {
        self.fetch_all_of(KIND, 1, count)
    }

    /// The same, by a worker of another kind or version.
    pub(crate) fn fetch_all_of(&self, kind: &str, version: u32, count: usize) -> Vec<Leased> {
        let kinds = vec![(kind.to_owned(), version)];
        let fetch = Fetch::new("case", kinds).lease(self.ages * 10);
        let fetch = fetch.patience(self.ages);
        let mut jobs = Vec::new();
        while jobs.len() < count {
            let fetch = fetch.clone().max(count - jobs.len());
            let more = self.run(self.engine.fetch(fetch));
            let found = jobs.len();
            assert!(!more.is_empty(), "{found} of {count} jobs were fetched");
            jobs.extend(more);
        }
        jobs
    }

    /// The jobs that are there at once: to see that there are none.
    pub(crate) fn fetch_now(&self, max: usize) -> Vec<Leased> {
        self.run(self.engine.fetch(fetch(max, self.ages * 10)))
    }

    pub(crate) fn settle(&self, lease: Lease, verdict: Verdict) -> Settled {
        let settled = self.run(self.engine.settle(vec![(lease, verdict)]));
        assert_eq!(settled.len(), 1, "an answer for each verdict");
        settled[0]
    }

    pub(crate) fn complete(&self, lease: Lease, output: &str) {
        let settled = self.settle(lease, Verdict::Complete(output.into()));
        assert_eq!(settled, Settled::Recorded, "what completing answered");
    }

    pub(crate) fn beat(&self, lease: Lease, longer: Duration) -> Held {
        let progress = None;
        let held = self.run(
            self.engine
                .heartbeat(vec![Beat { lease, progress }], longer),
        );
        assert_eq!(held.len(), 1, "an answer for each heartbeat");
        held[0]
    }

    pub(crate) fn output(&self, id: JobId) -> Option<String> {
        let output = self.run(self.engine.result(id));
        output.map(|bytes| String::from_utf8(bytes).expect("the case's own text"))
    }

    /// Until it has ended.
    pub(crate) fn ended(&self, id: JobId) -> Record {
        let job = self.run(self.engine.wait(id, self.ages));
        let job = job.unwrap_or_else(|| panic!("job {id} is not known"));
        assert!(
            job.state.is_finished(),
            "waiting ended, and the job is {}",
            job.state
        );
        job
    }

    /// Waits until it is so, and runs the engine's maintenance meanwhile.
    pub(crate) fn eventually(&self, what: &str, so: impl Fn() -> bool) {
        let end = Instant::now() + self.ages;
        while !so() {
            assert!(Instant::now() < end, "never: {what}");
            self.run(self.engine.maintain());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

pub(crate) fn fetch(max: usize, lease: Duration) -> Fetch {
    let kinds = vec![(KIND.to_owned(), 1)];
    Fetch::new("case", kinds).max(max).lease(lease)
}

pub(crate) fn failed(error: &str) -> Verdict {
    Verdict::RetryLater {
        delay: Duration::ZERO,
        error: error.to_owned(),
        timed_out: false,
    }
}

/// How the attempts of a job have ended.
pub(crate) fn ends(job: &Record) -> Vec<Option<AttemptEnd>> {
    job.attempts.iter().map(|attempt| attempt.end).collect()
}
