//! The future of a nursery.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use fourway_conformance::nursery::{
    Body, BoxFuture, Failure, Kind, Nursery, Output, Settings, Trouble, Value,
};
use fourway_core::{
    AnyRuntime, JoinError, Timer,
    cancel::{Reason, WaitForCancellation},
    implement::{destroy_contained, discard, poll_contained},
    values::Values,
};

use crate::bugs::{self, Bug};

use super::{
    Handle,
    child::{Shields, as_child},
    shared::{Shared, lock},
};

type Begin = Box<dyn FnOnce(&Arc<Shared>) -> BoxFuture<Output> + Send>;

pub(super) struct Host {
    /// The work of its first poll.
    begin: Option<(AnyRuntime, Settings, Begin)>,
    running: Option<Running>,
}

struct Running {
    shared: Arc<Shared>,
    values: Values,
    shields: Shields,
    body: Option<BoxFuture<Output>>,
    /// The body's share in the nursery.
    present: bool,
    value: Option<Value>,
    asked: Option<WaitForCancellation>,
    hard: Option<WaitForCancellation>,
    grace: Option<BoxFuture<()>>,
    over: bool,
}

impl Host {
    pub(super) fn new(rt: AnyRuntime, settings: Settings, body: Body) -> Self {
        let mut host = Self {
            begin: Some((
                rt,
                settings,
                Box::new(|shared| {
                    let nursery: Arc<dyn Nursery> = Arc::new(Handle(shared.clone()));
                    // Here a panic counts as the body's.
                    Box::pin(async move { body(nursery).await })
                }),
            )),
            running: None,
        };
        if bugs::bug() == Bug::EagerBody {
            host.begin();
        }
        host
    }

    /// A nursery whose body does only this.
    pub(super) fn with(
        rt: AnyRuntime,
        settings: Settings,
        body: impl FnOnce(&Arc<Shared>) + Send + 'static,
    ) -> Self {
        let begin: Begin = Box::new(|shared| {
            body(shared);
            Box::pin(async { Ok(Value::new(())) })
        });
        Self {
            begin: Some((rt, settings, begin)),
            running: None,
        }
    }

    fn begin(&mut self) {
        let Some((rt, settings, begin)) = self.begin.take() else {
            return;
        };
        let shared = Arc::new(Shared::new(rt, &settings));
        let values = shared.travels();
        let mut body = begin(&shared);
        if shared.bug == Bug::EagerBody {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let _ = body.as_mut().poll(&mut cx);
        }
        self.running = Some(Running {
            asked: Some(shared.soft.cancelled()),
            hard: Some(shared.hard.cancelled()),
            shared,
            values,
            shields: Shields::default(),
            body: Some(body),
            present: true,
            value: None,
            grace: None,
            over: false,
        });
    }
}

impl Future for Host {
    type Output = Result<Value, Trouble>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.begin();
        let running = self.running.as_mut().expect("it has begun");
        if running.poll(cx).is_pending() {
            return Poll::Pending;
        }
        running.over = true;
        Poll::Ready(running.verdict())
    }
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let bug = self.shared.bug;
        loop {
            if std::mem::take(&mut lock(&self.shared.state).cancel_later) {
                self.shared.cancel(&Reason::SiblingFailed);
            }
            self.poll_body(cx);
            if fired(&mut self.asked, cx) {
                self.shared.stop_starting();
                if bug == Bug::DeadlineWithoutDestructors {
                    self.shared.hard.cancel();
                    self.drop_body();
                    return Poll::Ready(());
                }
                if self.shared.grace.is_zero() {
                    let reason = self.shared.soft.reason();
                    self.shared
                        .hard
                        .cancel_with(reason.unwrap_or(Reason::Requested));
                } else if bug != Bug::GraceForEver {
                    let sleep = self.shared.rt.sleep(self.shared.grace);
                    self.grace = Some(Box::pin(sleep));
                }
                continue;
            }
            if let Some(grace) = &mut self.grace {
                if grace.as_mut().poll(cx).is_ready() {
                    self.grace = None;
                    self.shared.hard.cancel();
                    continue;
                }
            }
            if fired(&mut self.hard, cx) {
                continue;
            }
            break;
        }
        if bug == Bug::ErrorReturnsAtOnce && !lock(&self.shared.state).failures.is_empty() {
            self.drop_body();
            return Poll::Ready(());
        }
        if self.present {
            return self.shared.poll(cx, |_| None);
        }
        if bug == Bug::LeavesChildren {
            return Poll::Ready(());
        }
        self.shared
            .poll(cx, |state| (state.live == 0).then_some(()))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) {
        if !self.present {
            return;
        }
        let shielded = self.shields.load(std::sync::atomic::Ordering::SeqCst) > 0;
        let cut = self.shared.hard.is_cancelled() && self.shared.bug != Bug::BodyRunsOn;
        if cut && !shielded {
            return self.drop_body();
        }
        let (values, body) = (self.values.clone(), &mut self.body);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            as_child(&self.shields, || {
                values.scope(|| poll_contained(Pin::new(body), None, cx))
            })
        }));
        let Ok(Poll::Ready(result)) = polled else {
            return;
        };
        let of_all = self.shared.bug != Bug::BodyIsNoMember;
        match result {
            Ok(Ok(value)) => self.value = Some(value),
            Ok(Err(error)) if self.shared.is_cancellation(&error) => {}
            Ok(Err(error)) => self.shared.failed(Failure::Error(error), of_all),
            Err(payload) if self.shared.bug == Bug::BodyPanicEscapes => {
                self.present = false;
                self.over = true;
                self.shared.leave();
                resume_unwind(payload);
            }
            Err(payload) => {
                let failure = Failure::Join(JoinError::panicked(payload));
                self.shared.failed(failure, of_all);
            }
        }
        self.left();
    }

    fn drop_body(&mut self) {
        if !self.present {
            return;
        }
        let (values, body) = (self.values.clone(), &mut self.body);
        let destroyed = values.scope(|| destroy_contained(Pin::new(body), None));
        if let Err(payload) = destroyed {
            let failure = Failure::Join(JoinError::panicked(payload));
            self.shared.failed(failure, true);
        }
        self.left();
    }

    fn left(&mut self) {
        self.present = false;
        lock(&self.shared.state).body_over = true;
        self.shared.leave();
    }

    fn verdict(&mut self) -> Result<Value, Trouble> {
        let bug = self.shared.bug;
        let value = self.value.take();
        let mut state = lock(&self.shared.state);
        let failures = std::mem::take(&mut state.failures);
        let failed = !failures.is_empty();
        let (cancelled, by_itself) = (state.cancelled, state.by_itself);
        // Whether a cancellation from outside has cut it short, or made it fail.
        let cut = value.is_none()
            || cancelled > 0
            || failed && !state.failed_first
            || bug == Bug::LateIsTimeout;
        drop(state);
        let kind = match self.shared.soft.reason() {
            Some(Reason::Deadline) if !by_itself && cut => match bug {
                Bug::TimeoutLooksCancelled => Kind::Cancelled,
                _ => Kind::Timeout,
            },
            Some(_) if !by_itself && cut => match bug {
                Bug::OutsideLooksFailed => Kind::Failed,
                _ => Kind::Cancelled,
            },
            _ if failed => Kind::Failed,
            _ => match value {
                Some(value) => return Ok(value),
                None => Kind::Cancelled,
            },
        };
        discard(value);
        Err(Trouble {
            kind,
            failures,
            cancelled,
        })
    }
}

/// Is it cancelled? Reports it once.
fn fired(wait: &mut Option<WaitForCancellation>, cx: &mut Context<'_>) -> bool {
    let Some(waiting) = wait else { return false };
    let fired = Pin::new(waiting).poll(cx).is_ready();
    if fired {
        *wait = None;
    }
    fired
}

impl Drop for Host {
    fn drop(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        if running.over {
            return;
        }
        running.shared.abandon();
        running.drop_body();
    }
}

/// The end of a nursery without a first success.
pub(super) fn without_value(no_child: bool) -> Kind {
    match (no_child, bugs::bug()) {
        (true, Bug::NobodyFailed) => Kind::Failed,
        (true, _) => Kind::Empty,
        (false, _) => Kind::Cancelled,
    }
}
