//! Children: before they are started, and their tasks on the runtime.

use std::{
    cell::RefCell,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use fourway_conformance::nursery::{BoxFuture, Failure, Output, Value, Work};
use fourway_core::{
    JoinError, Offload, Payload, Spawner, Task,
    cancel::{CancellationToken, Reason, WaitForCancellation},
    implement::{destroy_contained, discard, poll_contained},
    values::Values,
};

use crate::bugs::Bug;

use super::{
    shared::{End, Shared, lock},
    start::Meeting,
};

/// How many shields a child is in.
pub(super) type Shields = Arc<AtomicUsize>;

thread_local! {
    /// The shields of the child that is being polled.
    pub(super) static SHIELDS: RefCell<Shields> = RefCell::default();
}

/// Calls `f` as the child, or the body, whose shields these are.
pub(super) fn as_child<T>(shields: &Shields, f: impl FnOnce() -> T) -> T {
    struct Restore(Option<Shields>);
    impl Drop for Restore {
        fn drop(&mut self) {
            SHIELDS.set(self.0.take().unwrap_or_default());
        }
    }
    let _restore = Restore(Some(SHIELDS.replace(shields.clone())));
    f()
}

/// The receiver of a child's end before the nursery.
pub(super) enum Report {
    None,
    First(Arc<Mutex<Option<Value>>>),
    Collect(Arc<Mutex<Vec<Option<Value>>>>, Option<usize>),
    Start(Arc<Meeting>),
}

impl Report {
    /// Takes its part, and returns the rest for the nursery.
    fn take(self, end: End, shared: &Shared) -> End {
        match (self, end) {
            (Self::First(slot), End::Done(value)) => {
                let late = {
                    let mut slot = lock(&slot);
                    match &*slot {
                        Some(_) => Some(value),
                        None => {
                            *slot = Some(value);
                            None
                        }
                    }
                };
                discard(late);
                if shared.bug != Bug::LosersRunOn {
                    shared.cancel(&Reason::NotNeeded);
                }
                End::Done(Value::new(()))
            }
            (Self::Collect(values, at), End::Done(value)) => {
                let mut values = lock(&values);
                match at {
                    Some(at) => values[at] = Some(value),
                    None => values.push(Some(value)),
                }
                End::Done(Value::new(()))
            }
            (Self::Start(meeting), end) => meeting.ended(end, shared),
            (_, end) => end,
        }
    }
}

/// A child, before it is started; dropped, it has ended as cancelled.
pub(super) struct Unstarted {
    work: Option<Work>,
    values: Option<Values>,
    pub(super) report: Option<Report>,
    /// Drops only this child.
    pub(super) abort: Option<CancellationToken>,
    shared: Arc<Shared>,
}

impl Unstarted {
    /// The nursery counts it.
    pub(super) fn new(work: Work, report: Report, shared: &Arc<Shared>) -> Self {
        let (token, abort) = match &report {
            Report::Start(meeting) => (Some(&meeting.token), Some(meeting.abort.clone())),
            _ => (None, None),
        };
        let values = shared.travels();
        let values = match token {
            Some(token) => token.attach(values),
            None => values,
        };
        Self {
            work: Some(work),
            values: Some(values),
            report: Some(report),
            abort,
            shared: shared.clone(),
        }
    }

    /// It has a place.
    pub(super) fn start(mut self) {
        let (Some(work), Some(values)) = (self.work.take(), self.values.take()) else {
            return;
        };
        let told = Told {
            report: self.report.take(),
            shared: self.shared.clone(),
            place: true,
        };
        match work {
            Work::Task(future) => self.shared.rt.spawn_detached(TaskChild {
                future: Some(future),
                values,
                shields: Shields::default(),
                abort: self.abort.take(),
                waits: Vec::new(),
                told,
            }),
            Work::Closure(closure) => {
                let child = ClosureChild {
                    closure: Some(closure),
                    values,
                    told,
                };
                self.shared.rt.offload(move || child.run()).detach();
            }
            _ => unreachable!("there are tasks and closures"),
        }
    }
}

impl Drop for Unstarted {
    fn drop(&mut self) {
        let Some(report) = self.report.take() else {
            return;
        };
        discard((self.work.take(), self.values.take()));
        let end = report.take(End::Cancelled, &self.shared);
        self.shared.ended(end, false);
    }
}

/// Reports a child's end, once.
struct Told {
    report: Option<Report>,
    shared: Arc<Shared>,
    place: bool,
}

impl Told {
    fn end(&mut self, end: End) {
        let Some(report) = self.report.take() else {
            return;
        };
        let end = report.take(end, &self.shared);
        self.shared.ended(end, self.place);
    }

    fn end_of(&self, result: Result<Output, Payload>) -> End {
        match result {
            Ok(Ok(value)) => End::Done(value),
            Ok(Err(error)) if self.shared.is_cancellation(&error) => End::Cancelled,
            Ok(Err(error)) => End::Failed(Failure::Error(error)),
            Err(payload) => End::Failed(Failure::Join(JoinError::panicked(payload))),
        }
    }

    /// It was destroyed before it was ready.
    fn end_unfinished(&mut self, destroyed: Result<(), Payload>, aborted: bool) {
        let shared = &self.shared;
        let end = match destroyed {
            Err(payload) if shared.bug != Bug::CancelledDestructorSwallowed => {
                End::Failed(Failure::Join(JoinError::panicked(payload)))
            }
            _ if aborted || shared.soft.is_cancelled() => End::Cancelled,
            _ if shared.bug == Bug::LostChildHangs => {
                self.report = None;
                return;
            }
            // By the runtime, which is shut down.
            _ => End::Failed(Failure::Join(JoinError::shutdown())),
        };
        self.end(end);
    }
}

struct TaskChild {
    future: Option<BoxFuture<Output>>,
    values: Values,
    shields: Shields,
    abort: Option<CancellationToken>,
    waits: Vec<WaitForCancellation>,
    told: Told,
}

impl TaskChild {
    fn is_aborted(&self) -> bool {
        self.abort
            .as_ref()
            .is_some_and(|abort| abort.is_cancelled())
    }

    fn is_to_be_dropped(&self) -> bool {
        let shared = &self.told.shared;
        let shielded = self.shields.load(Ordering::SeqCst) > 0;
        (shared.hard.is_cancelled() || self.is_aborted())
            && (!shielded || shared.kill.is_cancelled())
    }

    fn destroy(&mut self) {
        let aborted = self.is_aborted();
        let future = Pin::new(&mut self.future);
        let values = self.values.clone();
        let destroyed = values.scope(|| destroy_contained(future, None));
        self.told.end_unfinished(destroyed, aborted);
    }
}

impl Future for TaskChild {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.is_to_be_dropped() {
            this.destroy();
            return Poll::Ready(());
        }
        let (values, shields) = (this.values.clone(), this.shields.clone());
        let bug = this.told.shared.bug;
        let future = &mut this.future;
        let poll = as_child(&shields, || {
            values.scope(|| match bug {
                Bug::ToldBeforeDestructors => {
                    let future = future.as_mut().expect("it has not ended");
                    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
                    match polled {
                        Ok(poll) => poll.map(Ok),
                        Err(payload) => Poll::Ready(Err(payload)),
                    }
                }
                _ => poll_contained(Pin::new(future), None, cx),
            })
        });
        if let Poll::Ready(result) = poll {
            let end = this.told.end_of(result);
            this.told.end(end);
            return Poll::Ready(());
        }
        if bug == Bug::LimitFreedEarly && std::mem::take(&mut this.told.place) {
            this.told.shared.give_place_back();
        }
        // Registered each time, as the waker may be another one.
        let shared = &this.told.shared;
        let tokens = [Some(&shared.hard), Some(&shared.kill), this.abort.as_ref()];
        let mut waits: Vec<_> = tokens
            .into_iter()
            .flatten()
            .filter(|token| !token.is_cancelled())
            .map(CancellationToken::cancelled)
            .collect();
        let fired = waits
            .iter_mut()
            .any(|wait| Pin::new(wait).poll(cx).is_ready());
        this.waits = waits;
        if fired || this.is_to_be_dropped() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for TaskChild {
    fn drop(&mut self) {
        self.waits.clear();
        if self.told.report.is_some() {
            self.destroy();
        }
    }
}

struct ClosureChild {
    closure: Option<Box<dyn FnOnce() -> Output + Send>>,
    values: Values,
    told: Told,
}

impl ClosureChild {
    fn run(mut self) {
        let Some(closure) = self.closure.take() else {
            return;
        };
        let shared = &self.told.shared;
        if shared.soft.is_cancelled() && shared.bug != Bug::LineOutlivesDrop {
            discard(closure);
            return self.told.end(End::Cancelled);
        }
        let values = self.values.clone();
        let result = catch_unwind(AssertUnwindSafe(|| values.scope(closure)));
        let end = self.told.end_of(result);
        self.told.end(end);
    }
}

impl Drop for ClosureChild {
    fn drop(&mut self) {
        if self.told.report.is_some() {
            let closure = self.closure.take();
            let destroyed = catch_unwind(AssertUnwindSafe(|| drop(closure)));
            self.told.end_unfinished(destroyed, false);
        }
    }
}
