//! The kinds of named jobs: [`JobKind`], [`KindJob`].

use std::{fmt, time::Duration};

use fourway_jobs::{BoxError, JobId, Retry};
use serde::{Serialize, de::DeserializeOwned};

use crate::{EngineError, NewJob, UniqueKey};

/// A kind of jobs: a name that is the same in each process, and the types of arguments and output.
/// Mostly an empty struct, whose value stands for the kind.
///
/// # Versions
///
/// During a rolling upgrade, old and new workers run at the same time. A change of the arguments
/// counts up `VERSION`. Workers of an older version do not get the new jobs. Newer workers get the
/// old jobs, with their arguments passed through [`upgrade`](Self::upgrade).
///
/// # Examples
///
/// ```
/// use fourway_jobs_engine::{BoxError, JobKind};
/// use serde::{Deserialize, Serialize};
///
/// struct Thumbnail;
///
/// #[derive(Serialize, Deserialize)]
/// struct Image {
///     path: String,
///     width: u32, // since version 2
/// }
///
/// impl JobKind for Thumbnail {
///     const NAME: &'static str = "thumbnail";
///     const VERSION: u32 = 2;
///     type Args = Image;
///     type Output = u64;
///
///     fn upgrade(_version: u32, mut args: serde_json::Value) -> Result<Image, BoxError> {
///         args["width"] = 128.into();
///         Ok(serde_json::from_value(args)?)
///     }
/// }
/// ```
pub trait JobKind: Send + Sync + 'static {
    /// Its name in every store: never change it or give it to another kind.
    const NAME: &'static str;

    /// Counts the changes of `Args` that older workers do not understand. 1 at first.
    const VERSION: u32 = 1;

    /// The arguments of a job.
    type Args: Serialize + DeserializeOwned + Send + 'static;

    /// The output of a job.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// The arguments of a job of an older version.
    ///
    /// By default they are used as they are. A kind overrides this for changes that serde defaults
    /// do not cover.
    ///
    /// # Errors
    ///
    /// If the arguments cannot be converted. The job then ends as [dead](crate::Record::dead).
    fn upgrade(version: u32, args: serde_json::Value) -> Result<Self::Args, BoxError> {
        let _ = version;
        Ok(serde_json::from_value(args)?)
    }

    /// How often it is tried, and after which pauses: 5 times by default. An attempt whose worker
    /// died counts.
    #[must_use]
    fn retry() -> Retry {
        Retry::attempts(5)
    }
}

/// The arguments of a job, as the kind reads them.
pub(crate) fn decode<K: JobKind>(version: u32, args: &[u8]) -> Result<K::Args, BoxError> {
    if version >= K::VERSION {
        return Ok(serde_json::from_slice(args)?);
    }
    K::upgrade(version, serde_json::from_slice(args)?)
}

/// A job of a kind with its options, to be [submitted](crate::JobClient::submit_job).
///
/// # Examples
///
/// ```
/// # use fourway_jobs_engine::{JobKind, KindJob};
/// # struct Greet;
/// # impl JobKind for Greet {
/// #     const NAME: &'static str = "greet";
/// #     type Args = String;
/// #     type Output = ();
/// # }
/// use std::time::Duration;
///
/// let job = KindJob::new(Greet, "you".to_owned())
///     .delay(Duration::from_secs(60))
///     .unique("you")
///     .priority(1);
/// # drop(job);
/// ```
#[must_use = "a job runs once it is submitted"]
pub struct KindJob<K: JobKind> {
    args: K::Args,
    /// All but its arguments.
    job: NewJob,
}

impl<K: JobKind> KindJob<K> {
    /// A job of that kind, as soon as there is room.
    pub fn new(_kind: K, args: K::Args) -> Self {
        let mut job = NewJob::new(K::NAME, K::VERSION, Vec::new());
        job.max_attempts = K::retry().max_attempts();
        Self { args, job }
    }

    /// Not before so long from now.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.job.delay = delay;
        self
    }

    /// Before those of a lower priority. 0 by default.
    pub fn priority(mut self, priority: i8) -> Self {
        self.job.priority = priority;
        self
    }

    /// There is one job of this kind and key until it ends. Submitting another one gives the
    /// existing job ([unique keys](fourway_core::contract#JB-6)).
    pub fn unique(mut self, key: impl Into<String>) -> Self {
        self.job.unique = Some(UniqueKey {
            key: key.into(),
            within: None,
        });
        self
    }

    /// As [`unique`](Self::unique), but for a period from its submission, whatever its state. The
    /// job is known until then, also if [`keep`](Self::keep) is shorter.
    pub fn unique_within(mut self, key: impl Into<String>, period: Duration) -> Self {
        self.job.unique = Some(UniqueKey {
            key: key.into(),
            within: Some(period),
        });
        self
    }

    /// A header that is stored with it. [Its handler](crate::KindContext::header) and lists can
    /// read it.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.job.headers.insert(name.into(), value.into());
        self
    }

    /// The most attempts, in place of [its kind's](JobKind::retry).
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.job.max_attempts = attempts.max(1);
        self
    }

    /// So many attempts whose worker died, or stood still until its lease ran out, are followed by
    /// one more than [the most](Self::max_attempts). 0 by default. It is for jobs that are seldom
    /// tried again by themselves, and are nevertheless to survive restarts.
    pub fn lost_attempts(mut self, attempts: u32) -> Self {
        self.job.lost_attempts = attempts;
        self
    }

    /// No attempt may take longer.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.job.timeout = Some(timeout);
        self
    }

    /// How long it is known after its end. A week by default. It is known for longer while it
    /// has its key [for a period](Self::unique_within).
    pub fn keep(mut self, keep: Duration) -> Self {
        self.job.keep = keep;
        self
    }

    /// The id that the job will have, in every process.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.job.id
    }

    /// Gives it an id, in place of [a new one](crate::next_id): that of a job whose submission got
    /// no answer. No two jobs may have the same id.
    pub fn with_id(mut self, id: JobId) -> Self {
        self.job.id = id;
        self
    }

    /// Converts it for an engine.
    ///
    /// # Errors
    ///
    /// If the arguments cannot be written as JSON.
    pub fn into_new_job(self) -> Result<NewJob, EngineError> {
        let args = serde_json::to_vec(&self.args).map_err(EngineError::invalid)?;
        Ok(NewJob { args, ..self.job })
    }
}

/// The clone is the same job, with the same id. Submitting both submits one job.
impl<K: JobKind> Clone for KindJob<K>
where
    K::Args: Clone,
{
    fn clone(&self) -> Self {
        Self {
            args: self.args.clone(),
            job: self.job.clone(),
        }
    }
}

impl<K: JobKind> fmt::Debug for KindJob<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindJob")
            .field("job", &self.job)
            .finish_non_exhaustive()
    }
}
