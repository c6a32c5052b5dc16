//! Children that are started until they are ready.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex},
};

use fourway_conformance::nursery::{BoxFuture, NotReady, Ready, StartBody, Value, Work};
use fourway_core::cancel::CancellationToken;

use crate::bugs::Bug;

use super::{
    child::Report,
    shared::{End, Shared, lock},
};

/// Where the child and its caller meet.
pub(super) struct Meeting {
    state: Mutex<Meet>,
    /// Asks the child to end, and drops it.
    pub(super) token: CancellationToken,
    pub(super) abort: CancellationToken,
}

enum Meet {
    Waiting,
    Ready(u32),
    /// It was ready and runs on, for [`Bug::StartWaitsForEnd`].
    Later(u32),
    /// The caller has stopped waiting.
    Left,
    Over(Option<NotReady>),
}

impl Meeting {
    /// The rest for the nursery.
    pub(super) fn ended(&self, end: End, shared: &Shared) -> End {
        let mut state = lock(&self.state);
        if let Meet::Later(number) = *state {
            *state = Meet::Ready(number);
            return end;
        }
        if !matches!(*state, Meet::Waiting) {
            return end;
        }
        let (told, left) = match end {
            End::Done(value) => (NotReady::Ended, End::Done(value)),
            End::Cancelled => (NotReady::Cancelled, End::Cancelled),
            End::Failed(failure) if shared.bug == Bug::StartFailsTwice => {
                (NotReady::Cancelled, End::Failed(failure))
            }
            End::Failed(failure) => (NotReady::Failed(failure), End::Done(Value::new(()))),
        };
        *state = Meet::Over(Some(told));
        left
    }
}

pub(super) fn start(shared: Arc<Shared>, body: StartBody) -> BoxFuture<Result<u32, NotReady>> {
    Box::pin(async move {
        let meeting = Arc::new(Meeting {
            state: Mutex::new(Meet::Waiting),
            token: shared.soft.child(),
            abort: CancellationToken::new(),
        });
        let ready = {
            let (meeting, shared) = (meeting.clone(), shared.clone());
            Box::new(move |number| {
                let mut state = lock(&meeting.state);
                if !matches!(*state, Meet::Waiting) {
                    return Err(number);
                }
                *state = match shared.bug {
                    Bug::StartWaitsForEnd => Meet::Later(number),
                    _ => Meet::Ready(number),
                };
                drop(state);
                shared.changed();
                Ok(())
            }) as Ready
        };
        let report = Report::Start(meeting.clone());
        if shared.spawn(Work::Task(body(ready)), report, true).is_err() {
            return Err(NotReady::Cancelled);
        }
        let caller = Caller(meeting, shared);
        poll_fn(|cx| {
            let meeting = &caller.0;
            // Checked under the lock of the nursery, so that no change is missed.
            caller.1.poll(cx, |_| {
                let mut state = lock(&meeting.state);
                let result = match &mut *state {
                    Meet::Ready(number) => Ok(*number),
                    Meet::Over(told) => Err(told.take().unwrap_or(NotReady::Ended)),
                    _ => return None,
                };
                *state = Meet::Left;
                Some(result)
            })
        })
        .await
    })
}

/// Gives up when it is dropped.
struct Caller(Arc<Meeting>, Arc<Shared>);

impl Drop for Caller {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *lock(&self.0.state), Meet::Left);
        if matches!(before, Meet::Waiting) {
            self.0.token.cancel();
            self.0.abort.cancel();
            if self.1.bug == Bug::CallerCancelsAll {
                self.1.cancel(&fourway_core::cancel::Reason::Dropped);
            }
        }
    }
}
