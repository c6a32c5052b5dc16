//! The request, as it comes over the wire, and the job made of it.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use fourway_core::{Call, Runtime};
use fourway_jobs::{
    Job, JobContext, JobHandle, JobManager, JobManagerBuilder, Retry, Schedule, ScheduleError,
    ScheduleHandle, SubmitError, Work as Submitted,
    kinds_of_work::{AsAgain, AsJob},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::work::{self, Error, Progress, Root, Toolbox};

/// The queues, which are the manager's classes: one for each kind of work.
pub const QUEUES: [&str; 3] = ["index", "pack", "search"];

/// A kind of work, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Work {
    /// List the skills (`SKILL.md` files) below a folder.
    Index {
        /// The folder, relative to the root folder of the service.
        #[schema(example = "examples/skillkit/skills")]
        folder: String,
    },
    /// Compress and hash the files below a folder.
    Pack {
        /// The folder, relative to the root folder of the service.
        #[schema(example = "examples")]
        folder: String,
    },
    /// Find the longest Collatz sequence.
    Search {
        /// The search tries all starts below this number; at most 1,000,000,000.
        #[schema(example = 1_000_000)]
        below: u64,
    },
}

/// The body that does the work. Each kind of work has two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A closure that blocks, on the runtime's pool.
    #[default]
    Sync,
    /// A future, on the runtime's threads for tasks.
    Async,
}

/// The handling of a job whose client disconnects while it waits for the job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// The job continues.
    #[default]
    Keep,
    /// The job is cancelled, unless it existed before this request (see `unique`).
    Cancel,
}

/// A job to be submitted.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The work.
    pub work: Work,
    /// The body that does the work.
    #[serde(default)]
    pub body: Body,
    /// The displayed name. By default it describes the work.
    #[serde(default)]
    #[schema(max_length = 100)]
    pub name: Option<String>,
    /// Jobs of a higher priority start first. No job starves.
    #[serde(default)]
    pub priority: i8,
    /// The job is queued after this many milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// The maximum duration of an attempt, in milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// The maximum number of attempts. The pauses between them grow.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 20)]
    pub attempts: u32,
    /// A key that at most one unfinished job of a queue has; with a store, of a queue and a `body`. A
    /// second submission returns the existing job.
    #[serde(default)]
    #[schema(max_length = 100)]
    pub unique: Option<String>,
    /// Labels to search for.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The handling of the job if the client of `POST /run` disconnects.
    #[serde(default)]
    pub on_disconnect: OnDisconnect,
}

fn one() -> u32 {
    1
}

/// The result of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// Of [`Work::Index`].
    Index(work::Index),
    /// Of [`Work::Pack`].
    Pack(work::Pack),
    /// Of [`Work::Search`].
    Search(work::Longest),
}

impl Work {
    /// The queue that it goes into.
    pub fn queue(&self) -> &'static str {
        let [index, pack, search] = QUEUES;
        match self {
            Self::Index { .. } => index,
            Self::Pack { .. } => pack,
            Self::Search { .. } => search,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Index { folder } => format!("index {folder}"),
            Self::Pack { folder } => format!("pack {folder}"),
            Self::Search { below } => format!("search below {below}"),
        }
    }
}

impl Submission {
    /// A submission of this work, with default settings.
    pub fn new(work: Work) -> Self {
        Self {
            work,
            body: Body::default(),
            name: None,
            priority: 0,
            delay_ms: 0,
            timeout_ms: None,
            attempts: 1,
            unique: None,
            labels: BTreeMap::new(),
            on_disconnect: OnDisconnect::default(),
        }
    }

    /// Is it a valid job? Uses neither the disk nor the manager.
    ///
    /// # Errors
    ///
    /// The fault of the request, in words for its sender.
    pub fn check(&self) -> Result<(), String> {
        match &self.work {
            Work::Index { folder } | Work::Pack { folder } => {
                Root::check(folder).map_err(|error| error.to_string())?;
            }
            Work::Search { below } => {
                work::check(*below).map_err(|error| format!("`below`: {error}"))?;
            }
        }
        let texts = self.name.iter().chain(&self.unique);
        let labels = self.labels.iter().flat_map(|(label, value)| [label, value]);
        if let Some(long) = texts.chain(labels).find(|text| text.len() > 100) {
            return Err(format!("{long:?} is too long: up to 100 bytes"));
        }
        if self.labels.len() > 10 {
            return Err("there are too many labels: up to 10".into());
        }
        if !(1..=20).contains(&self.attempts) {
            return Err("`attempts` is out of range: from 1 to 20".into());
        }
        if self.timeout_ms == Some(0) {
            return Err("`timeout_ms` is 0: give a longer one, or none".into());
        }
        Ok(())
    }

    /// Submits it to the manager, with the body that it asks for.
    ///
    /// # Errors
    ///
    /// If the queue is full or the manager closed.
    pub fn submit<R: Runtime>(
        &self,
        jobs: &JobManager,
        toolbox: &Toolbox<R>,
    ) -> Result<JobHandle<Outcome>, SubmitError> {
        match self.body {
            Body::Sync => jobs.submit(self.sync_job(toolbox)),
            Body::Async => jobs.submit(self.async_job(toolbox)),
        }
    }

    /// Submits it for each run of a schedule.
    ///
    /// # Errors
    ///
    /// If there is a schedule of that name, or the manager is closed.
    pub fn schedule<R: Runtime>(
        self,
        name: &str,
        schedule: Schedule,
        jobs: &JobManager,
        toolbox: &Toolbox<R>,
    ) -> Result<ScheduleHandle, ScheduleError> {
        let toolbox = toolbox.clone();
        match self.body {
            Body::Sync => jobs.schedule(name, schedule, move |_| self.sync_job(&toolbox)),
            Body::Async => jobs.schedule(name, schedule, move |_| self.async_job(&toolbox)),
        }
    }

    fn sync_job<R: Runtime>(
        &self,
        toolbox: &Toolbox<R>,
    ) -> impl Submitted<AsJob<AsAgain>, Value = Outcome> + use<R> {
        let (work, toolbox) = (self.work.clone(), toolbox.clone());
        self.options(Job::blocking(move |job: JobContext| {
            do_sync(&toolbox, work.clone(), job)
        }))
    }

    fn async_job<R: Runtime>(
        &self,
        toolbox: &Toolbox<R>,
    ) -> impl Submitted<AsJob<AsAgain>, Value = Outcome> + use<R> {
        let (work, toolbox) = (self.work.clone(), toolbox.clone());
        self.options(Job::task(move |job: JobContext| {
            let (work, toolbox) = (work.clone(), toolbox.clone());
            async move { do_async(&toolbox, work, job).await }
        }))
    }

    /// The name that people see.
    pub(crate) fn display_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.work.name())
    }

    /// Its unique key in the manager: the same key for other work is another job.
    pub(crate) fn unique_key(&self) -> Option<String> {
        let unique = self.unique.as_ref()?;
        Some(format!("{}/{unique}", self.work.queue()))
    }

    /// Its labels, with one for its body.
    pub(crate) fn all_labels(&self) -> impl Iterator<Item = (String, String)> + use<'_> {
        let body = match self.body {
            Body::Sync => "sync",
            Body::Async => "async",
        };
        let labels = self.labels.iter();
        let labels = labels.map(|(label, value)| (label.clone(), value.clone()));
        std::iter::once(("body".to_owned(), body.to_owned())).chain(labels)
    }

    fn options<W>(&self, job: Job<W>) -> Job<W>
    where
        W: fourway_jobs::Again<AsAgain>,
    {
        let mut job = job
            .name(self.display_name())
            .class(self.work.queue())
            .priority(self.priority);
        if self.delay_ms > 0 {
            job = job.delay(Duration::from_millis(self.delay_ms));
        }
        if let Some(timeout) = self.timeout_ms {
            job = job.timeout(Duration::from_millis(timeout));
        }
        if self.attempts > 1 {
            job = job.retry(Retry::attempts(self.attempts).pause(Duration::from_millis(500)));
        }
        if let Some(unique) = self.unique_key() {
            job = job.unique(unique);
        }
        for (label, value) in self.all_labels() {
            job = job.label(label, value);
        }
        job
    }
}

/// `index=FOLDER`, `pack=FOLDER` or `search=BELOW`: as on a command line.
impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, what) = text.split_once('=').unwrap_or((text, ""));
        let folder = String::from(what);
        match kind {
            "index" => Ok(Self::Index { folder }),
            "pack" => Ok(Self::Pack { folder }),
            "search" => {
                let below = what.parse().map_err(|error| format!("{what:?}: {error}"))?;
                Ok(Self::Search { below })
            }
            _ => Err("give `index=FOLDER`, `pack=FOLDER` or `search=BELOW`".into()),
        }
    }
}

/// The work, for a closure. There a blocking body is a plain call.
pub(crate) fn do_sync<R: Runtime>(
    toolbox: &Toolbox<R>,
    work: Work,
    progress: impl Progress,
) -> Result<Outcome, Error> {
    match work {
        Work::Index { folder } => toolbox.index(folder, progress).wait().map(Outcome::Index),
        Work::Pack { folder } => toolbox.pack(folder, progress).wait().map(Outcome::Pack),
        Work::Search { below } => toolbox.search(below, progress).wait().map(Outcome::Search),
    }
}

/// The work, for a task.
pub(crate) async fn do_async<R: Runtime>(
    toolbox: &Toolbox<R>,
    work: Work,
    progress: impl Progress,
) -> Result<Outcome, Error> {
    Ok(match work {
        Work::Index { folder } => Outcome::Index(toolbox.index_async(folder, progress).await?),
        Work::Pack { folder } => Outcome::Pack(toolbox.pack_async(folder, progress).await?),
        Work::Search { below } => Outcome::Search(toolbox.search_async(below, progress).await?),
    })
}

/// A manager with the service's queues, each of which runs a few jobs at a time.
pub fn manager<R: Runtime>(rt: &R, at_once: usize) -> JobManagerBuilder {
    let jobs = JobManager::builder(rt).concurrency(at_once * QUEUES.len());
    QUEUES
        .into_iter()
        .fold(jobs, |jobs, queue| jobs.limit(queue, at_once))
}

impl Progress for JobContext {
    fn fraction(&self, fraction: f64) {
        self.progress(fraction);
    }

    fn message(&self, message: &str) {
        JobContext::message(self, message);
    }

    fn count(&self, what: &str, by: u64) {
        JobContext::count(self, what, by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Submission, String> {
        serde_json::from_str::<Submission>(text)
            .map_err(|error| error.to_string())
            .and_then(|submission| submission.check().map(|()| submission))
    }

    #[test]
    fn what_is_asked_for_is_looked_at() {
        let given =
            parse(r#"{"work": {"kind": "search", "below": 100}, "body": "async"}"#).unwrap();
        assert_eq!(given.work, Work::Search { below: 100 });
        assert_eq!((given.body, given.attempts), (Body::Async, 1));
        for wrong in [
            r#"{}"#,
            r#"{"work": {"kind": "sing"}}"#,
            r#"{"work": {"kind": "search"}}"#,
            r#"{"work": {"kind": "search", "below": 1}}"#,
            r#"{"work": {"kind": "search", "below": 1000000001}}"#,
            r#"{"work": {"kind": "search", "below": -5}}"#,
            r#"{"work": {"kind": "search", "below": 10, "above": 5}}"#,
            r#"{"work": {"kind": "pack", "folder": "/etc"}}"#,
            r#"{"work": {"kind": "index", "folder": "../.."}}"#,
            r#"{"work": {"kind": "search", "below": 10}, "speed": 5}"#,
            r#"{"work": {"kind": "search", "below": 10}, "attempts": 0}"#,
            r#"{"work": {"kind": "search", "below": 10}, "timeout_ms": 0}"#,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
