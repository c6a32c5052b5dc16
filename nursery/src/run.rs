//! The future of a nursery: drives the body, and waits for the children.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use fourway_core::{
    JoinError, Runtime,
    implement::{destroy_contained, poll_contained},
};

use crate::{error::Failure, shared::Shared, shield::Shields};

/// Runs `body` with its children to the end of all, and gives what the body gave, unless it
/// failed or was cut short.
pub(crate) async fn drive<R, B, T, E>(shared: &Arc<Shared<R, E>>, body: B) -> Option<T>
where
    R: Runtime,
    B: Future<Output = Result<T, E>>,
    E: Send + 'static,
{
    // If this future is dropped half-way, its variables are in the reverse order: first the
    // children are told, then the body is destroyed, then it has left.
    let mut presence = Some(Presence(shared));
    let mut body = pin!(Some(body));
    let guard = Abandon(Some(shared));

    let mut shields = Shields::default();
    let mut asked = Some(shared.soft.cancelled());
    let mut grace: Option<Pin<Box<R::Sleep>>> = None;
    let mut value = None;
    poll_fn(|cx| {
        loop {
            if presence.is_some() {
                let over = if shared.is_to_be_dropped(shields.any()) {
                    let destroyed = shared
                        .values
                        .clone()
                        .scope(|| destroy_contained(body.as_mut(), None));
                    if let Err(payload) = destroyed {
                        shared.body_failed(Failure::Join(JoinError::panicked(payload)));
                    }
                    true
                } else {
                    let poll = shields.around(|| {
                        let values = shared.values.clone();
                        values.scope(|| poll_contained(body.as_mut(), None, cx))
                    });
                    match poll {
                        Poll::Pending => false,
                        Poll::Ready(result) => {
                            match result {
                                Ok(Ok(output)) => value = Some(output),
                                Ok(Err(error)) if shared.is_cancellation(&error) => {}
                                Ok(Err(error)) => shared.body_failed(Failure::Error(error)),
                                Err(payload) => {
                                    shared.body_failed(Failure::Join(JoinError::panicked(payload)));
                                }
                            }
                            true
                        }
                    }
                };
                if over {
                    presence = None;
                }
            }
            if let Some(waiting) = &mut asked {
                if let Poll::Ready(cancelled) = Pin::new(waiting).poll(cx) {
                    asked = None;
                    shared.stop_starting();
                    if shared.settings.grace.is_zero() {
                        shared.drop_all(cancelled.reason().clone());
                        continue;
                    }
                    grace = Some(Box::pin(shared.runtime.sleep(shared.settings.grace)));
                }
            }
            if let Some(sleep) = &mut grace {
                if sleep.as_mut().poll(cx).is_ready() {
                    grace = None;
                    let reason = shared.soft.reason();
                    shared.drop_all(reason.expect("it was what the grace began with"));
                    continue;
                }
            }
            if presence.is_some() {
                // In this poll the body may have left the shield that it was in when it was to
                // be dropped, or have been cancelled by a child: nothing else comes to wake it.
                if shared.is_to_be_dropped(shields.any()) {
                    continue;
                }
                return Poll::Pending;
            }
            return shared.poll_over(cx);
        }
    })
    .await;
    guard.disarm();
    value
}

/// The body's share in the nursery.
struct Presence<'a, R: Runtime, E: Send + 'static>(&'a Shared<R, E>);

impl<R: Runtime, E: Send + 'static> Drop for Presence<'_, R, E> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Cancels the children if the nursery's future is dropped half-way.
struct Abandon<'a, R: Runtime, E: Send + 'static>(Option<&'a Shared<R, E>>);

impl<R: Runtime, E: Send + 'static> Abandon<'_, R, E> {
    fn disarm(mut self) {
        if let Some(shared) = self.0.take() {
            shared.let_go();
        }
    }
}

impl<R: Runtime, E: Send + 'static> Drop for Abandon<'_, R, E> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.abandon();
        }
    }
}
