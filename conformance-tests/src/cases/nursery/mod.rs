//! NU: nurseries on the runtime.

mod children;
mod context;
mod deadlines;
mod dropped;
mod failures;
mod limits;
mod outlives;
mod panics;
mod sync;

use std::{
    future::{Future, pending},
    sync::Arc,
    time::Duration,
};

use fourway_core::AnyRuntime;

use crate::{
    Case,
    nursery::{
        BoxFuture, Error, Failure, Nurseries, Nursery, Output, Refusal, Refused, Settings, Trouble,
        Value, Work,
    },
    setup::Setup,
    util::{Counter, Gate, HandMade},
};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    [
        outlives::cases(s),
        failures::cases(s),
        children::cases(s),
        panics::cases(s),
        limits::cases(s),
        deadlines::cases(s),
        sync::cases(s),
        dropped::cases(s),
        context::cases(s),
    ]
    .concat()
}

const MS: Duration = Duration::from_millis(1);
/// Longer than any case.
const LONG: Duration = Duration::from_secs(3600);

/// A runtime, and the nurseries on it.
#[derive(Clone)]
struct Here {
    rt: AnyRuntime,
    nurseries: &'static dyn Nurseries,
}

impl Here {
    fn of<S: Setup>(s: S) -> Self {
        Self::on(s, s.build())
    }

    fn on<S: Setup>(s: S, rt: S::Runtime) -> Self {
        Self {
            rt: AnyRuntime::new(rt),
            nurseries: s.nurseries(),
        }
    }

    /// Fails fast, with no limit and no deadline.
    fn run<F>(
        &self,
        body: impl FnOnce(Arc<dyn Nursery>) -> F + Send + 'static,
    ) -> BoxFuture<Result<Value, Trouble>>
    where
        F: Future<Output = Output> + Send + 'static,
    {
        self.run_with(Settings::default(), body)
    }

    fn run_with<F>(
        &self,
        settings: Settings,
        body: impl FnOnce(Arc<dyn Nursery>) -> F + Send + 'static,
    ) -> BoxFuture<Result<Value, Trouble>>
    where
        F: Future<Output = Output> + Send + 'static,
    {
        let body = Box::new(|nursery| Box::pin(body(nursery)) as BoxFuture<Output>);
        self.nurseries.run(&self.rt, settings, body)
    }
}

fn supervise() -> Settings {
    Settings {
        supervise: true,
        ..Settings::default()
    }
}

fn limit(limit: usize) -> Settings {
    Settings {
        limit: Some(limit),
        ..Settings::default()
    }
}

fn timeout(timeout: Duration) -> Settings {
    Settings {
        timeout: Some(timeout),
        ..Settings::default()
    }
}

/// A child's or body's value.
#[allow(clippy::unnecessary_wraps, reason = "it is what a child ends with")]
fn ok(number: u32) -> Output {
    Ok(Value::new(number))
}

/// A child's or body's failure.
fn fails(text: &'static str) -> Output {
    Err(error(text))
}

fn error(text: &'static str) -> Error {
    Error::other(text)
}

#[track_caller]
fn number(value: Value) -> u32 {
    value.get().expect("the case gave a number")
}

/// The number that a nursery gave.
#[track_caller]
fn value(result: Result<Value, Trouble>) -> u32 {
    match result {
        Ok(value) => number(value),
        Err(trouble) => panic!("there is no value: {trouble:?}"),
    }
}

#[track_caller]
fn trouble<T>(result: Result<T, Trouble>) -> Trouble {
    match result {
        Ok(_) => panic!("the nursery gave a value"),
        Err(trouble) => trouble,
    }
}

/// The texts of the failures, in order.
fn texts(failures: &[Failure<Error>]) -> Vec<String> {
    failures
        .iter()
        .map(|failure| match failure {
            Failure::Error(error) => error.to_string(),
            Failure::Join(error) => match error.panic_message() {
                Some(message) => format!("panic: {message}"),
                None => error.to_string(),
            },
        })
        .collect()
}

/// The result for an accepted child; fails if the child was refused.
#[track_caller]
fn taken<T>(result: Result<T, Refused>) -> T {
    match result {
        Ok(taken) => taken,
        Err(refused) => panic!("a child was refused: {refused:?}"),
    }
}

/// Starts a child without waiting.
#[track_caller]
fn spawn(nursery: &Arc<dyn Nursery>, work: Work) {
    drop(taken(nursery.spawn(work)));
}

/// Why a child was refused, and the work.
#[track_caller]
fn refused<T>(result: Result<T, Refused>) -> (Refusal, Work) {
    match result {
        Ok(_) => panic!("a child was taken that is to be refused"),
        Err(refused) => (refused.why, refused.work),
    }
}

/// A child that never ends, and counts when it is destroyed. `begun` is opened in its first
/// poll.
fn endless(begun: &Gate, destroyed: &Counter) -> Work {
    let begun = begun.clone();
    Work::task(HandMade {
        poll: move |_: &mut std::task::Context<'_>| {
            begun.open();
            std::task::Poll::Pending
        },
        on_drop: Box::new(destroyed.on_drop()),
    })
}

/// A body that waits to be cut short.
async fn for_ever() -> Output {
    pending().await
}
