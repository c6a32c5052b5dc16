//! The future of a nursery: drives the body, and waits for the children.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use fourway_core::{
    JoinError, Runtime,
    cancel::{Cancelled, WaitForCancellation},
    implement::{destroy_contained, poll_contained},
    values::Values,
};

use crate::{
    Nursery, NurseryError,
    error::Failure,
    ledger::Ledger,
    shared::{Over, Shared},
    shield::Shields,
};

/// The end of a nursery.
pub(crate) struct Ended<T, E> {
    /// The body's value, unless it failed or was cut short.
    value: Option<T>,
    // None if nothing failed and nothing was cancelled.
    ledger: Option<Box<Ledger<E>>>,
}

/// Runs `body`, where `values` are current, with its children to the end of all.
pub(crate) async fn drive<R, B, T, E>(
    nursery: &Nursery<R, E>,
    mut values: Values,
    body: B,
) -> Ended<T, E>
where
    R: Runtime,
    B: Future<Output = Result<T, E>>,
    E: Send + 'static,
{
    let shared = &nursery.shared;
    // If this future is dropped half-way, its variables are dropped in the reverse order: first the
    // children are told, then the body is destroyed, then it leaves.
    let mut presence = Some(Presence(shared));
    let mut body = pin!(Some(body));
    let guard = Abandon(Some(shared));

    let mut shields = Shields::default();
    let mut asked = Asked::NotYet;
    let mut grace: Option<Pin<Box<R::Sleep>>> = None;
    let mut value = None;
    let over = poll_fn(|cx| {
        loop {
            let mut failure = None;
            if body.is_none() {
                // First of all, because this is what usually wakes it.
                if let Some(over) = shared.try_over() {
                    return Poll::Ready(over);
                }
            } else if shared.is_to_be_dropped(shields.any()) {
                let destroyed = values.scope_mut(|| destroy_contained(body.as_mut(), None));
                if let Err(payload) = destroyed {
                    failure = Some(Failure::Join(JoinError::panicked(payload)));
                }
            } else {
                let poll =
                    shields.around(|| values.scope_mut(|| poll_contained(body.as_mut(), None, cx)));
                match poll {
                    Poll::Pending => {}
                    Poll::Ready(Ok(Ok(output))) => value = Some(output),
                    Poll::Ready(Ok(Err(error))) if shared.is_cancellation(&error) => {}
                    Poll::Ready(Ok(Err(error))) => failure = Some(Failure::Error(error)),
                    Poll::Ready(Err(payload)) => {
                        failure = Some(Failure::Join(JoinError::panicked(payload)));
                    }
                }
            }
            if shared.is_inherited() {
                // The body has forked: the children, and the lock, are the parent's.
                return match body.is_none() {
                    true => Poll::Ready(over_in_child(failure)),
                    false => Poll::Pending,
                };
            }
            if let Some(failure) = failure {
                shared.body_failed(failure);
            }
            if body.is_some() && matches!(asked, Asked::NotYet) {
                shared.wait_for_token(cx.waker());
            }
            if let Poll::Ready(cancelled) = asked.poll(shared, cx) {
                shared.stop_starting();
                if shared.settings.grace.is_zero() {
                    shared.drop_all(cancelled.reason().clone());
                    continue;
                }
                grace = Some(Box::pin(shared.runtime.sleep(shared.settings.grace)));
            }
            if let Some(sleep) = &mut grace {
                if sleep.as_mut().poll(cx).is_ready() {
                    grace = None;
                    let reason = shared.reason();
                    shared.drop_all(reason.expect("it was what the grace began with"));
                    continue;
                }
            }
            if body.is_some() {
                // In this poll the body may have left its shield when it must be dropped already,
                // or a child may have cancelled it. No other wake-up comes.
                if shared.is_to_be_dropped(shields.any()) {
                    continue;
                }
                return Poll::Pending;
            }
            // Cloned before the body leaves by hand, because it is foreign code, which may panic.
            let waker = cx.waker().clone();
            let leaves = presence.take().map(Presence::disarm);
            let poll = shared.poll_over(leaves.is_some(), waker);
            if poll.is_pending() && matches!(asked, Asked::NotYet) && shared.made_token().is_some()
            {
                // Made before the waker was there.
                continue;
            }
            return poll;
        }
    })
    .await;
    guard.disarm();
    if shared.is_inherited() {
        // The last reference to none of it: what is inside is the parent's.
        mem::forget((asked, shared.clone()));
    }
    let Over { ledger, hold } = over;
    // The nursery around need not wait for this one any more.
    drop(hold);
    Ended { value, ledger }
}

/// The end of a nursery whose body has ended in a forked child: of the children, only the parent
/// knows.
#[cold]
fn over_in_child<E>(body: Option<Failure<E>>) -> Over<E> {
    let mut ledger = Box::new(Ledger::new(usize::MAX));
    ledger.body_failed = body.is_some();
    let forked = Failure::Join(JoinError::forked());
    for failure in body.into_iter().chain([forked]) {
        let surplus = ledger.record(failure, false);
        debug_assert!(surplus.is_none(), "all are kept");
    }
    let (ledger, hold) = (Some(ledger), None);
    Over { ledger, hold }
}

/// How far the nursery's future is with the token that asks the nursery to end.
enum Asked {
    /// Nobody had made it when the future last looked.
    NotYet,
    Waits(WaitForCancellation),
    /// It was cancelled, and that is done which follows.
    Heard,
}

impl Asked {
    /// Ready once. As long as the token has not been made, the waker is to be left with
    /// [`wait_for_token`](Shared::wait_for_token) before, or with `poll_over`, and this to be called
    /// again.
    fn poll<R, E>(&mut self, shared: &Shared<R, E>, cx: &mut Context<'_>) -> Poll<Cancelled>
    where
        R: Runtime,
    {
        if let (Self::NotYet, Some(token)) = (&*self, shared.made_token()) {
            *self = Self::Waits(token.cancelled());
        }
        let Self::Waits(waiting) = self else {
            return Poll::Pending;
        };
        let cancelled = ready!(Pin::new(waiting).poll(cx));
        *self = Self::Heard;
        Poll::Ready(cancelled)
    }
}

impl<T, E> Ended<T, E> {
    pub(crate) fn has_value(&self) -> bool {
        self.value.is_some()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.ledger
            .as_ref()
            .is_some_and(|ledger| ledger.has_failed())
    }

    pub(crate) fn body_failed(&self) -> bool {
        self.ledger
            .as_ref()
            .is_some_and(|ledger| ledger.body_failed)
    }

    pub(crate) fn verdict<R>(self, shared: &Shared<R, E>) -> Result<T, NurseryError<E>>
    where
        R: Runtime,
    {
        match (self.value, self.ledger) {
            (Some(value), None) => Ok(value),
            (value, ledger) => {
                let ledger = ledger.map_or_else(|| Ledger::new(0), |ledger| *ledger);
                ledger.verdict(value, || shared.reason())
            }
        }
    }
}

/// The body's share in the nursery.
struct Presence<'a, R: Runtime, E: Send + 'static>(&'a Shared<R, E>);

impl<R: Runtime, E: Send + 'static> Presence<'_, R, E> {
    /// The body leaves by hand instead, under a lock that is held for more than that.
    fn disarm(self) {
        // It is a reference, and nothing in it is leaked.
        std::mem::forget(self);
    }
}

impl<R: Runtime, E: Send + 'static> Drop for Presence<'_, R, E> {
    fn drop(&mut self) {
        if !self.0.is_inherited() {
            self.0.leave();
        }
    }
}

/// Cancels the children if the nursery's future is dropped half-way.
struct Abandon<'a, R: Runtime, E: Send + 'static>(Option<&'a Shared<R, E>>);

impl<R: Runtime, E: Send + 'static> Abandon<'_, R, E> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl<R: Runtime, E: Send + 'static> Drop for Abandon<'_, R, E> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            if !shared.is_inherited() {
                shared.abandon();
            }
        }
    }
}
