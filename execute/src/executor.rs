//! Starting work: [`execute`], and [`Executor`] for a chosen model.

use std::{fmt, sync::Arc, time::Duration};

use fourway_core::{Runtime, task::Metadata};

use crate::{
    IntoWork, Model, Overrun, Started,
    watch::{Hook, Watch},
};

/// Starts work of any kind where it belongs: blocking work on the pool, async work on the
/// executor (the model [`Route`](Model::Route)).
///
/// The type decides the kind at compile time, and nothing is boxed. It returns the runtime's own
/// handle, and is as good as the `rt.offload(..)`, `rt.spawn(..)` or `call.spawn()` that it stands
/// for. Dropping the handle cancels ([drop cancels, detach does not](fourway_core::contract#CA-1)).
/// It can be called from anywhere, and neither blocks nor polls in place ([spawn from
/// anywhere](fourway_core::contract#SP-2)). It is [one door for work
/// of any kind](fourway_core::contract#EX-1).
///
/// # Errors
///
/// The handle gives those of [`JoinError`](fourway_core::JoinError): a panic with its payload,
/// a cancellation, a shutdown.
///
/// # Examples
///
/// ```
/// use fourway_core::{AnyRuntime, Call, JoinError, Runtime};
/// use fourway_execute::execute;
///
/// async fn all_kinds(rt: &AnyRuntime) -> Result<(), JoinError> {
///     let closure = execute(rt, || std::fs::read_to_string("notes").is_ok());
///     let future = execute(rt, async { 2 });
///     let makes_one = execute(rt, || async { 3 });
///     let async_closure = execute(rt, async || 4);
///     let call = execute(rt, rt.call_blocking(|| 5));
///     closure.await?;
///     let sum = future.await? + makes_one.await? + async_closure.await? + call.await?;
///     assert_eq!(sum, 14);
///     Ok(())
/// }
/// ```
#[inline]
#[track_caller]
pub fn execute<R, W, K>(rt: &R, work: W) -> W::Task
where
    R: Runtime,
    W: IntoWork<R, K>,
{
    work.route(rt, Metadata::caller())
}

/// A runtime, and the [`Model`] in which it runs work.
///
/// Cheap to clone. Clones share their counters.
///
/// # Examples
///
/// ```
/// use fourway_core::AnyRuntime;
/// use fourway_execute::{Executor, Model};
/// use std::time::Duration;
///
/// fn executor(rt: AnyRuntime) -> Executor<AnyRuntime> {
///     Executor::builder(rt)
///         .model(Model::Async)
///         .budget(Duration::from_millis(2))
///         .on_overrun(|overrun| eprintln!("{overrun}"))
///         .build()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Executor<R> {
    rt: R,
    model: Model,
    watch: Watch,
}

impl<R: Runtime> Executor<R> {
    /// An executor in this model, with the defaults of the [builder](Self::builder).
    #[must_use]
    pub fn new(rt: R, model: Model) -> Self {
        Self::builder(rt).model(model).build()
    }

    /// Sets up an executor.
    pub fn builder(rt: R) -> Builder<R> {
        Builder {
            rt,
            model: Model::default(),
            budget: Watch::BUDGET,
            hook: None,
        }
    }

    /// Starts work of any kind, as [`execute`] does, where the model wants it.
    ///
    /// The handle is one of the runtime's, behind an enum: nothing is boxed. Async work that
    /// runs on a thread (the model *thread*) is dropped when its handle is, as on an executor,
    /// at its next await.
    #[track_caller]
    pub fn execute<W, K>(&self, work: W) -> Started<R, W::Output, W::Task>
    where
        W: IntoWork<R, K>,
    {
        work.start(self, Metadata::caller())
    }

    /// The same executor with another model, for the work that is started through it.
    #[must_use]
    pub fn with_model(&self, model: Model) -> Self {
        Self {
            model,
            ..self.clone()
        }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> Model {
        self.model
    }

    /// The runtime.
    #[must_use]
    pub fn runtime(&self) -> &R {
        &self.rt
    }

    /// How many closures, declared [`short`](crate::short), have ended over their budget.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.watch.overruns()
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }
}

/// Sets up an [`Executor`]. Made by [`Executor::builder`].
#[must_use = "a builder does nothing before `build`"]
pub struct Builder<R> {
    rt: R,
    model: Model,
    budget: Duration,
    hook: Option<Hook>,
}

impl<R: Runtime> Builder<R> {
    /// The model. [`Model::Route`] by default.
    pub fn model(self, model: Model) -> Self {
        Self { model, ..self }
    }

    /// How long a closure that is declared [`short`](crate::short) and runs in place may take. One
    /// millisecond by default.
    pub fn budget(self, budget: Duration) -> Self {
        Self { budget, ..self }
    }

    /// Called for closures that exceed their budget. Without it they are only
    /// [counted](Executor::overruns).
    ///
    /// It is called on a watching thread while such a closure runs (at most a few milliseconds
    /// late, on a machine that is not overloaded). It is called once more when the closure has
    /// ended, on the closure's thread. There a panic of the hook counts as a panic of the work.
    pub fn on_overrun(self, hook: impl Fn(&Overrun) + Send + Sync + 'static) -> Self {
        Self {
            hook: Some(Arc::new(hook)),
            ..self
        }
    }

    /// The executor.
    #[must_use]
    pub fn build(self) -> Executor<R> {
        Executor {
            rt: self.rt,
            model: self.model,
            watch: Watch::new(self.budget, self.hook),
        }
    }
}

impl<R: fmt::Debug> fmt::Debug for Builder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("rt", &self.rt)
            .field("model", &self.model)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
