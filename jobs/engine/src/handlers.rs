//! The handlers of job kinds: [`Handlers`].

use std::{
    any::Any, collections::BTreeMap, error::Error, fmt, future::Future, panic::AssertUnwindSafe,
    pin::Pin, sync::Arc,
};

use fourway_core::{AnyRuntime, Offload, implement::discard};
use fourway_jobs::{BoxError, Retry};
use futures_lite::FutureExt;
use serde::Serialize;

use crate::{KindContext, kind::JobKind, kind::decode};

/// The kinds that a worker runs, each with its handler: async ones, and closures that may block.
///
/// A handler may run more than once for a job: when a worker dies, or stands still for longer than
/// its lease, while it runs the job ([run at least once, recorded
/// once](fourway_core::contract#EN-2)). An error makes the job be tried again, as its kind
/// [says](JobKind::retry), unless the error is a [`GiveUp`]; so does a panic.
///
/// # Examples
///
/// ```
/// # use fourway_jobs_engine::{JobKind, Handlers, BoxError};
/// # struct Greet; struct Sum;
/// # impl JobKind for Greet {
/// #     const NAME: &'static str = "greet";
/// #     type Args = String;
/// #     type Output = String;
/// # }
/// # impl JobKind for Sum {
/// #     const NAME: &'static str = "sum";
/// #     type Args = Vec<u64>;
/// #     type Output = u64;
/// # }
/// let handlers = Handlers::new()
///     .on(Greet, |_, name| async move { Ok::<_, BoxError>(format!("hello, {name}")) })
///     .on_blocking(Sum, |job, numbers| {
///         job.check()?;
///         Ok::<_, BoxError>(numbers.iter().sum())
///     });
/// # drop(handlers);
/// ```
#[derive(Clone, Default)]
pub struct Handlers {
    by_name: BTreeMap<&'static str, Handler>,
}

#[derive(Clone)]
pub(crate) struct Handler {
    pub(crate) version: u32,
    pub(crate) retry: Retry,
    run: Arc<Run>,
}

type Run = dyn Fn(&AnyRuntime, KindContext, u32, Vec<u8>) -> Running + Send + Sync;
type Running = Pin<Box<dyn Future<Output = Ran> + Send>>;

/// How a handler has ended.
pub(crate) enum Ran {
    Output(Vec<u8>),
    Failed {
        error: String,
        give_up: bool,
    },
    /// It was dropped before its end.
    Dropped,
}

impl Handlers {
    /// No handlers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs jobs of that kind as futures, on the runtime's threads for tasks. A future that must
    /// end is dropped.
    ///
    /// A second handler of a kind replaces the first.
    #[must_use]
    pub fn on<K, F, Fut, E>(self, _kind: K, handler: F) -> Self
    where
        K: JobKind,
        F: Fn(KindContext, K::Args) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<K::Output, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let handler = Arc::new(handler);
        self.with::<K>(move |_, context, version, args| {
            let handler = handler.clone();
            let token = context.token().clone();
            let values = context.values();
            #[cfg(feature = "tracing")]
            let span = context.span();
            let body = async move {
                match decode::<K>(version, &args) {
                    Ok(args) => ran(handler(context, args).await),
                    Err(error) => unreadable(&error),
                }
            };
            let body = values.scope_future(body);
            #[cfg(feature = "tracing")]
            let body = tracing::Instrument::instrument(body, span);
            Box::pin(async move {
                // Around all of it: the future that is dropped may panic as well.
                let run = AssertUnwindSafe(token.run_until_cancelled(body)).catch_unwind();
                match run.await {
                    Ok(Ok(ran)) => ran,
                    Ok(Err(_cancelled)) => Ran::Dropped,
                    Err(panic) => {
                        let ran = panicked(panic_message(&*panic));
                        // Its destructor is the handler's as well. A panic here would end the task
                        // without a verdict, and the job would wait for its lease to run out.
                        discard(panic);
                        ran
                    }
                }
            })
        })
    }

    /// Runs jobs of that kind on the runtime's pool for closures that may block. A closure that
    /// must end is asked by its [token](KindContext::token) and holds its slot until it ends. If it
    /// gives an output nevertheless, the output counts.
    #[must_use]
    pub fn on_blocking<K, F, E>(self, _kind: K, handler: F) -> Self
    where
        K: JobKind,
        F: Fn(KindContext, K::Args) -> Result<K::Output, E> + Send + Sync + 'static,
        E: Into<BoxError>,
    {
        let handler = Arc::new(handler);
        self.with::<K>(move |runtime, context, version, args| {
            let handler = handler.clone();
            let task = runtime.offload(move || {
                #[cfg(feature = "tracing")]
                let _entered = context.span().entered();
                let values = context.values();
                values.scope(|| match decode::<K>(version, &args) {
                    Ok(args) => ran(handler(context, args)),
                    Err(error) => unreadable(&error),
                })
            });
            Box::pin(async move {
                match task.await {
                    Ok(ran) => ran,
                    Err(error) if error.is_panic() => {
                        let ran = panicked(error.panic_message());
                        discard(error);
                        ran
                    }
                    Err(_gone) => Ran::Dropped,
                }
            })
        })
    }

    fn with<K: JobKind>(
        mut self,
        run: impl Fn(&AnyRuntime, KindContext, u32, Vec<u8>) -> Running + Send + Sync + 'static,
    ) -> Self {
        let handler = Handler {
            version: K::VERSION,
            retry: K::retry(),
            run: Arc::new(run),
        };
        self.by_name.insert(K::NAME, handler);
        self
    }

    /// The kinds, each with its version: what a worker asks an engine for.
    #[must_use]
    pub fn kinds(&self) -> Vec<(String, u32)> {
        let kinds = self.by_name.iter();
        kinds
            .map(|(name, handler)| ((*name).to_owned(), handler.version))
            .collect()
    }

    pub(crate) fn of(&self, kind: &str) -> Option<&Handler> {
        self.by_name.get(kind)
    }
}

impl Handler {
    /// Queues the closure of a blocking handler at once.
    pub(crate) fn run(
        &self,
        runtime: &AnyRuntime,
        context: KindContext,
        version: u32,
        args: Vec<u8>,
    ) -> Running {
        (self.run)(runtime, context, version, args)
    }
}

fn ran<T: Serialize, E: Into<BoxError>>(result: Result<T, E>) -> Ran {
    match result {
        Ok(output) => match serde_json::to_vec(&output) {
            Ok(bytes) => Ran::Output(bytes),
            Err(error) => Ran::Failed {
                error: format!("the output cannot be written as JSON: {error}"),
                give_up: true,
            },
        },
        Err(error) => {
            let error = error.into();
            Ran::Failed {
                give_up: error.is::<GiveUp>(),
                error: chain(&*error),
            }
        }
    }
}

fn unreadable(error: &BoxError) -> Ran {
    Ran::Failed {
        error: format!("the arguments cannot be read: {error}"),
        give_up: true,
    }
}

fn panicked(message: Option<&str>) -> Ran {
    Ran::Failed {
        error: format!("panicked: {}", message.unwrap_or("without a message")),
        give_up: false,
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// An error with its causes, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let source_text = source.to_string();
        if !text.ends_with(&source_text) {
            text = format!("{text}: {source_text}");
        }
        next = source.source();
    }
    text
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.by_name.iter().map(|(name, one)| (name, one.version)))
            .finish()
    }
}

/// The error of a handler when no further attempt can succeed: the job ends as
/// [dead](crate::Record::dead) at once.
///
/// # Examples
///
/// ```
/// use fourway_jobs_engine::{BoxError, GiveUp};
///
/// fn resize(width: u32) -> Result<(), BoxError> {
///     if width == 0 {
///         return Err(GiveUp::new("an image without a width").into());
///     }
///     Ok(())
/// }
/// # drop(resize);
/// ```
#[derive(Debug)]
pub struct GiveUp {
    error: BoxError,
}

impl GiveUp {
    /// Gives up because of that error.
    #[must_use]
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self {
            error: error.into(),
        }
    }
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for GiveUp {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
