//! `fourway-execute` for the cases: [`FOURWAY`].

use std::sync::Arc;

use fourway_core::{AnyRuntime, JoinError, cancel::CancellationToken};
use fourway_execute as native;

use super::{Access, BoxFuture, Doors, Model, Overrun, Session, Stopped, Turn, Work};

/// Executing as `fourway-execute` does it.
pub static FOURWAY: FourwayDoors = FourwayDoors(());

/// The type of [`FOURWAY`].
#[derive(Debug)]
pub struct FourwayDoors(());

impl Doors for FourwayDoors {
    fn execute(
        &self,
        runtime: &AnyRuntime,
        model: Model,
        overrun: Overrun,
        work: Work,
    ) -> BoxFuture<Result<u32, Stopped>> {
        let executor = native::Executor::builder(runtime.clone())
            .model(model)
            .on_overrun(move |told| overrun(told.ended))
            .build();
        let started = executor.execute(match work {
            Work::Blocking(f) => native::Work::blocking(|| f(())),
            Work::Short(f) => native::Work::short(|| f(())),
            Work::Async(f) => native::Work::making(|| f(())),
        });
        Box::pin(async { started.await.map_err(|error| ended(&error)) })
    }

    fn session(&self, runtime: &AnyRuntime, model: Model) -> Arc<dyn Session> {
        let session = native::Session::new(runtime.clone(), model, Vec::new());
        Arc::new(Ours(session))
    }
}

fn ended(error: &JoinError) -> Stopped {
    if error.is_panic() {
        Stopped::Panicked
    } else if error.is_cancelled() {
        Stopped::Interrupted
    } else {
        Stopped::Closed
    }
}

struct Ours(native::Session<AnyRuntime, Vec<u32>>);

type Scope<A> = native::Scope<AnyRuntime, Vec<u32>, A>;

impl Session for Ours {
    fn execute(
        &self,
        access: Access,
        work: Work<Box<dyn Turn>>,
    ) -> BoxFuture<Result<u32, Stopped>> {
        let execution = match access {
            Access::Read => self.0.read_work(kind(work)),
            _ => self.0.execute_work(kind(work)),
        };
        Box::pin(async {
            execution.await.map_err(|error| match error.join_error() {
                Some(error) => ended(error),
                None if error.is_interrupted() => Stopped::Interrupted,
                None => Stopped::Closed,
            })
        })
    }

    fn interrupt(&self) {
        self.0.interrupt();
    }
}

fn kind<A>(work: Work<Box<dyn Turn>>) -> native::SessionWork<AnyRuntime, Vec<u32>, u32, A>
where
    A: 'static,
    Scope<A>: Turn + 'static,
{
    use native::SessionWork;
    match work {
        Work::Blocking(f) => SessionWork::blocking(|scope| f(Box::new(scope))),
        Work::Short(f) => SessionWork::short(|scope| f(Box::new(scope))),
        Work::Async(f) => SessionWork::making(|scope| f(Box::new(scope))),
    }
}

impl Turn for Scope<native::Write> {
    fn numbers(&self) -> &[u32] {
        self
    }

    fn push(&mut self, number: u32) {
        (**self).push(number);
    }

    fn token(&self) -> CancellationToken {
        native::Scope::token(self).clone()
    }
}

impl Turn for Scope<native::Read> {
    fn numbers(&self) -> &[u32] {
        self
    }

    fn push(&mut self, _: u32) {
        panic!("a reader changes nothing");
    }

    fn token(&self) -> CancellationToken {
        native::Scope::token(self).clone()
    }
}
