//! Starting a child and waiting until it is ready: [`Started`], [`StartError`].

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use fourway_core::{
    Runtime,
    cancel::{self, CancellationToken, Reason, WaitForCancellation},
    implement::{discard, enclose_with, wake},
    task::Metadata,
    values::Values,
};
use pin_project_lite::pin_project;

use crate::{
    carried::Travel,
    child::{Outcome, Sink, Task, admit},
    error::{Failure, Refusal},
    shared::{End, Shared},
    shield,
    sync::{Mutex, lock},
};

/// A child says with it that it is ready. See [`Nursery::start`](crate::Nursery::start).
pub struct Started<V> {
    meeting: Arc<Meeting<V>>,
}

impl<V> Started<V> {
    /// Gives the waiting caller a value. From now on the child belongs to the nursery alone.
    ///
    /// # Errors
    ///
    /// Gives `value` back if the caller is gone. The child decides whether to go on.
    pub fn ready(self, value: V) -> Result<(), V> {
        let mut state = lock(&self.meeting.state);
        match &mut *state {
            Meet::Waiting(waker) => {
                let waker = waker.take();
                *state = Meet::Ready(value);
                drop(state);
                waker.into_iter().for_each(wake);
                Ok(())
            }
            Meet::Ready(_) | Meet::Left | Meet::Over => Err(value),
        }
    }
}

impl<V> fmt::Debug for Started<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started").finish_non_exhaustive()
    }
}

/// Why a child that was started never was ready.
///
/// A child that has ended has failed, was cancelled, or did neither. So a `match` on it is complete.
pub enum StartError<E> {
    /// It failed before; the failure is not the nursery's.
    Failed(Failure<E>),
    /// It, its nursery, or the work around the caller was cancelled before.
    Cancelled,
    /// It ended without saying that it is ready.
    Ended,
}

impl<E: fmt::Display> fmt::Display for StartError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => write!(f, "the child failed before it was ready: {failure}"),
            Self::Cancelled => f.write_str("the child was cancelled before it was ready"),
            Self::Ended => {
                f.write_str("the child ended without being ready: call `started.ready(..)` in it")
            }
        }
    }
}

impl<E> fmt::Debug for StartError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed(Failure::Error(_)) => "StartError::Failed(Error(..))",
            Self::Failed(Failure::Join(_)) => "StartError::Failed(Join(..))",
            Self::Cancelled => "StartError::Cancelled",
            Self::Ended => "StartError::Ended",
        })
    }
}

impl<E: Error + 'static> Error for StartError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // Its own message is in this one's.
            Self::Failed(failure) => failure.source(),
            Self::Cancelled | Self::Ended => None,
        }
    }
}

struct Meeting<V> {
    state: Mutex<Meet<V>>,
}

/// The state of a child and its waiting caller. It decides which of the two gets a failure of the
/// child, so that never both do.
enum Meet<V> {
    Waiting(Option<Waker>),
    Ready(V),
    /// The caller has got the value, or is gone.
    Left,
    /// The child has ended before it was ready, and its end is in [`Ending`].
    Over,
}

/// The end of a child that was never ready.
type Ending<E> = Arc<Mutex<Option<StartError<E>>>>;

pub(crate) async fn start<R, B, F, V, T, E>(
    shared: &Arc<Shared<R, E>>,
    metadata: Metadata,
    travel: &Travel,
    body: B,
) -> Result<V, StartError<E>>
where
    R: Runtime,
    B: FnOnce(Started<V>) -> F,
    F: Future<Output = Result<T, E>> + Send + 'static,
    V: Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    if shared.is_inherited() {
        return Err(StartError::Cancelled);
    }
    let meeting = Arc::new(Meeting {
        state: Mutex::new(Meet::Waiting(None)),
    });
    let ending: Ending<E> = Arc::new(Mutex::new(None));
    // The nursery cancels this token, and so does the caller until the child is ready. `abort`
    // drops the child.
    let token = shared.token().child();
    let abort = CancellationToken::new();
    let around = cancel::try_current().filter(|around| !around.is_same(shared.token()));
    let future = Abortable {
        future: body(Started {
            meeting: meeting.clone(),
        }),
        asked: abort.clone(),
        abort: Some(abort.cancelled()),
        shared: shared.clone(),
    };
    let sink = StartSink {
        meeting: meeting.clone(),
        ending: ending.clone(),
    };
    let travel = match travel {
        Travel::All => Travel::With(enclose_with(Values::current(), &shared.me(), &token)),
        chosen => chosen.clone(),
    };
    if let Err(refused) = admit(shared, Task(future), metadata, sink, &travel, true) {
        debug_assert!(refused.refusal != Refusal::Full);
        return Err(StartError::Cancelled);
    }

    let leaves = Leaves {
        meeting,
        ending,
        shared: shared.clone(),
        // In this order: a child that the second makes fail finds the first cancelled.
        tokens: [abort, token],
    };
    let mut cancelled = around.as_ref().map(CancellationToken::cancelled);
    poll_fn(|cx| {
        if leaves.shared.is_inherited() {
            // The child is the parent's.
            return Poll::Ready(Err(StartError::Cancelled));
        }
        if let Some(waiting) = &mut cancelled {
            if let Poll::Ready(around) = Pin::new(waiting).poll(cx) {
                cancelled = None;
                // It ends at its next await, and then tells.
                leaves.cancel(around.reason());
            }
        }
        let mut waker = Some(cx.waker().clone());
        let mut state = lock(&leaves.meeting.state);
        let poll = match &mut *state {
            Meet::Waiting(known) => {
                std::mem::swap(known, &mut waker);
                Poll::Pending
            }
            Meet::Ready(_) => match std::mem::replace(&mut *state, Meet::Left) {
                Meet::Ready(value) => Poll::Ready(Ok(value)),
                _ => unreachable!("just matched"),
            },
            Meet::Left => unreachable!("only this future leaves, and it is there"),
            Meet::Over => {
                let end = lock(&leaves.ending).take();
                Poll::Ready(Err(end.unwrap_or(StartError::Ended)))
            }
        };
        drop(state);
        drop(waker);
        poll
    })
    .await
}

/// The waiting caller goes away.
struct Leaves<R: Runtime, V, E: Send + 'static> {
    meeting: Arc<Meeting<V>>,
    ending: Ending<E>,
    shared: Arc<Shared<R, E>>,
    tokens: [CancellationToken; 2],
}

impl<R: Runtime, V, E: Send + 'static> Leaves<R, V, E> {
    fn cancel(&self, reason: &Reason) {
        for token in &self.tokens {
            token.cancel_with(reason.clone());
        }
    }
}

impl<R: Runtime, V, E: Send + 'static> Drop for Leaves<R, V, E> {
    fn drop(&mut self) {
        if self.shared.is_inherited() {
            return;
        }
        let before = std::mem::replace(&mut *lock(&self.meeting.state), Meet::Left);
        if matches!(before, Meet::Waiting(_)) {
            self.cancel(&Reason::Dropped);
        }
        let unread = lock(&self.ending).take();
        if let Some(StartError::Failed(failure)) = unread {
            // Reported, and not read: the nursery's failure after all.
            self.shared.failed(failure);
        }
        // A value that was not read.
        discard(before);
    }
}

pin_project! {
    /// The child: its output, or nothing if its caller has cancelled it, which takes effect
    /// outside of shields.
    struct Abortable<F, R: Runtime, E> {
        #[pin]
        future: F,
        asked: CancellationToken,
        // `None` once it was cancelled.
        abort: Option<WaitForCancellation>,
        shared: Arc<Shared<R, E>>,
    }
}

impl<F, R, T, E> Future for Abortable<F, R, E>
where
    F: Future<Output = Result<T, E>>,
    R: Runtime,
    E: Send + 'static,
{
    type Output = Result<Option<T>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Also before the first poll: the caller may be gone by then.
        if this.asked.is_cancelled() && !shield::is_shielded() {
            return Poll::Ready(Ok(None));
        }
        if let Poll::Ready(result) = this.future.poll(cx) {
            return Poll::Ready(match result {
                Ok(output) => Ok(Some(output)),
                // The caller has cancelled it: the nursery knows nothing of that.
                Err(error) if this.asked.is_cancelled() && this.shared.says_cancelled(&error) => {
                    discard(error);
                    Ok(None)
                }
                Err(error) => Err(error),
            });
        }
        if let Some(abort) = this.abort {
            if Pin::new(abort).poll(cx).is_ready() {
                *this.abort = None;
            }
        }
        if this.abort.is_none() && !shield::is_shielded() {
            return Poll::Ready(Ok(None));
        }
        Poll::Pending
    }
}

struct StartSink<V, E> {
    meeting: Arc<Meeting<V>>,
    ending: Ending<E>,
}

impl<R, V, T, E> Sink<R, Option<T>, E> for StartSink<V, E>
where
    R: Runtime,
    V: Send + 'static,
    E: Send + 'static,
{
    fn take(self, outcome: Outcome<Option<T>, E>, _: &Shared<R, E>) -> End<E> {
        let outcome = match outcome {
            Outcome::Done(Some(output)) => {
                discard(output);
                Outcome::Done(())
            }
            Outcome::Done(None) | Outcome::Cancelled => Outcome::Cancelled,
            Outcome::Failed(failure) => Outcome::Failed(failure),
        };
        let mut state = lock(&self.meeting.state);
        let Meet::Waiting(waker) = &mut *state else {
            drop(state);
            return match outcome {
                Outcome::Done(()) => End::Done,
                Outcome::Failed(failure) => End::Failed(failure),
                Outcome::Cancelled => End::Cancelled,
            };
        };
        let waker = waker.take();
        let (told, end) = match outcome {
            Outcome::Done(()) => (StartError::Ended, End::Done),
            Outcome::Failed(failure) => (StartError::Failed(failure), End::Done),
            Outcome::Cancelled => (StartError::Cancelled, End::Cancelled),
        };
        *lock(&self.ending) = Some(told);
        *state = Meet::Over;
        drop(state);
        waker.into_iter().for_each(wake);
        end
    }
}
