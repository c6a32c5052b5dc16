//! Users may move the public types between threads, share them, pin them, put them behind `dyn`.
//! The compiler checks it; the test is that this compiles.

use std::{cell::Cell, fmt::Debug, future::Pending, rc::Rc};

use fourway_adapt as adapt;
use fourway_adapt::{Adapter, BoxFuture, Contain, Execute, Outcome, Rethrow, Root, Slot};
use fourway_core::{
    call::{AsyncCall, BlockingCall, Offloaded, Then},
    layer::Propagate,
    local::{Local, LocalTask},
    time::{Interval, MissedTickBehavior, Timeout, YieldNow},
    values::{Key, Values, WithValues},
    *,
};

fn send<T: Send>() {}
fn sync<T: Sync>() {}
fn unpin<T: Unpin>() {}
fn debug<T: Debug>() {}
fn shareable<T: Send + Sync + Unpin + Debug>() {}
fn error<T: std::error::Error + Send + Sync + 'static>() {}

#[derive(Clone, Debug)]
struct Nowhere;

impl Execute for Nowhere {
    fn execute(&self, future: BoxFuture) {
        drop(future);
    }
}

type Rt = Adapter<Nowhere>;
/// A possible output of a task: `Send` but not `Sync`.
type Output = Cell<u8>;
/// A possible future of a task: not `Unpin`.
type Future = std::future::PollFn<std::marker::PhantomPinned>;

macro_rules! not {
    ($type:ty: $bound:path) => {{
        // Ambiguous, and so an error, exactly if the type has the trait.
        trait Ambiguous<A> {
            fn check() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        struct Has;
        impl<T: ?Sized + $bound> Ambiguous<Has> for T {}
        let _ = <$type as Ambiguous<_>>::check;
    }};
}

#[test]
fn handles_and_errors() {
    shareable::<AbortHandle>();
    shareable::<JoinError>();
    shareable::<BlockOnError>();
    shareable::<TryOffloadError<u8>>();
    shareable::<Elapsed>();
    shareable::<ShutdownReport>();
    shareable::<ShutdownError>();
    error::<JoinError>();
    error::<BlockOnError>();
    error::<TryOffloadError<u8>>();
    error::<Elapsed>();
    error::<ShutdownError>();
    shareable::<Cancel<adapt::join::JoinTask<Output>>>();
    shareable::<adapt::join::JoinTask<Output>>();
    shareable::<adapt::pool::OffloadTask<Output>>();
    shareable::<AnyOffloadTask<Output>>();
    #[cfg(feature = "async-task")]
    shareable::<adapt::async_task::AsyncTask<Output>>();
}

#[test]
fn runtimes_and_wrappers() {
    fn runtime<R: Runtime + Debug + Unpin>() {
        shareable::<R>();
    }
    runtime::<AnyRuntime>();
    runtime::<Rt>();
    runtime::<Compose<Rt, AnyRuntime>>();
    runtime::<Propagate<Rt>>();
    shareable::<adapt::pool::Pool>();
    shareable::<adapt::pool::PoolBuilder>();
    shareable::<adapt::timer::Timers>();
    shareable::<adapt::timer::Sleep>();
    shareable::<adapt::AdapterBuilder<Nowhere>>();
    debug::<adapt::pool::Worker>();
    send::<adapt::pool::Worker>();
    shareable::<context::Context>();
    shareable::<implement::RuntimeId>();
    shareable::<implement::Registration>();
    shareable::<Values>();
    shareable::<Key<u8>>();
    shareable::<Slot<Output>>();
}

#[test]
fn futures_and_calls() {
    send::<Timeout<Pending<Output>, adapt::timer::Sleep>>();
    unpin::<Timeout<Pending<()>, adapt::timer::Sleep>>();
    shareable::<Interval<Rt>>();
    shareable::<MissedTickBehavior>();
    shareable::<YieldNow>();
    send::<Contain<Pending<Output>, Rethrow>>();
    send::<Outcome<Output>>();
    send::<WithValues<Pending<Output>>>();
    send::<AsyncCall<Rt, Pending<Output>>>();
    send::<BlockingCall<Rt, fn() -> Output>>();
    send::<Offloaded<Rt, fn() -> Output, Output>>();
    unpin::<Offloaded<Rt, fn() -> Output, Output>>();
    type First = AsyncCall<Rt, Pending<u8>>;
    send::<Then<First, First, fn(u8) -> First>>();
    sync::<Then<First, First, fn(u8) -> First>>();
    // Pinned futures stay pinned in their wrappers.
    not!(Contain<Future, Rethrow>: Unpin);
    not!(Root<Future>: Unpin);
    not!(WithValues<Future>: Unpin);
    not!(Timeout<Future, YieldNow>: Unpin);
}

#[test]
fn what_belongs_to_a_thread_stays_there() {
    not!(Local: Send);
    not!(Local: Sync);
    not!(LocalTask<Rc<u8>>: Send);
    not!(implement::Entered: Send);
    not!(adapt::pool::Lent: Send);
    unpin::<LocalTask<Rc<u8>>>();
}

#[test]
fn objects() {
    fn object<T: ?Sized>() {}
    object::<dyn Task<Output>>();
    object::<dyn fourway_core::implement::Abort>();
    object::<dyn Shutdown>();
    object::<dyn adapt::pool::Threads>();
    send::<Box<dyn Task<Output>>>();
    sync::<Box<dyn Task<Output>>>();
}
