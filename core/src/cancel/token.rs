use std::{
    fmt,
    future::Future,
    hash::{Hash, Hasher},
    panic::{RefUnwindSafe, UnwindSafe},
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    time::{Duration, Instant},
};

use super::{
    Cancelled, DropGuard, DropGuardRef, Reason, RunUntilCancelled, WaitForCancellation,
    current::CURRENT,
    node::{Deadline, Node},
    sleep,
};
use crate::{
    BlockOnError, Timer, implement,
    values::{Values, WithValues},
};

/// A request to end, shared by callers and the work.
///
/// A clone is the same token. A [`child`](Self::child) is cancelled with its parent and not
/// the other way round. A token that was cancelled stays so. Dropping one does nothing; a
/// token whose clones are all gone leaves its parent's list at once.
///
/// When [`cancel`](Self::cancel) returns, [`is_cancelled`](Self::is_cancelled) is true of the token
/// and of all its descendants. They are not marked at one instant: meanwhile another thread may see
/// one cancelled and another not yet.
///
/// # Examples
///
/// ```
/// use fourway_core::{AnyRuntime, Offload, cancel::{Cancelled, CancellationToken}};
///
/// async fn example(rt: &AnyRuntime) {
///     let token = CancellationToken::new();
///     let counting = rt.offload({
///         let token = token.child();
///         move || -> Result<(), Cancelled> {
///             loop {
///                 token.check()?;
///             }
///         }
///     });
///     token.cancel();
///     assert!(counting.await.unwrap().is_err());
/// }
/// ```
#[derive(Clone)]
pub struct CancellationToken {
    pub(super) node: Arc<Node>,
}

impl CancellationToken {
    /// A token that is not cancelled, without parent and deadline.
    #[must_use]
    pub fn new() -> Self {
        Self {
            node: Node::root(None),
        }
    }

    /// A child: it is cancelled with this token, at the latest, and has its deadline.
    ///
    /// Cancelling the child does not cancel this token.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            node: self.node.child(None),
        }
    }

    /// [`child`](Self::child), by tokio-util's name.
    #[must_use]
    pub fn child_token(&self) -> Self {
        self.child()
    }

    /// A [`child`](Self::child) that is cancelled at `deadline` as well, or at the deadline of
    /// this token if that is earlier, with [`Reason::Deadline`].
    ///
    /// The time is that of `timer`. No task waits for the deadline. Each check of the token reads
    /// the clock, which costs more than the usual load, and each waiter sets a timer.
    ///
    /// The token and its descendants keep a clone of `timer`. If that is a runtime, it is one more
    /// handle: a task that keeps the token keeps its own runtime, which does not end with the other
    /// handles, but by a shutdown.
    #[must_use]
    pub fn child_with_deadline<T>(&self, timer: &T, deadline: Instant) -> Self
    where
        T: Timer + Clone + Send + Sync + 'static,
    {
        let own = Deadline {
            at: deadline,
            clock: Arc::new(timer.clone()),
        };
        Self {
            node: self.node.child(Some(own)),
        }
    }

    /// A [`child`](Self::child) that is cancelled once `duration` has passed as well. See
    /// [`child_with_deadline`](Self::child_with_deadline). A duration that is beyond what the
    /// clock can express sets no deadline.
    #[must_use]
    pub fn child_with_timeout<T>(&self, timer: &T, duration: Duration) -> Self
    where
        T: Timer + Clone + Send + Sync + 'static,
    {
        match timer.now().checked_add(duration) {
            Some(deadline) => self.child_with_deadline(timer, deadline),
            None => self.child(),
        }
    }

    /// See [`expire_after`](implement::expire_after).
    pub(crate) fn set_deadline<T>(&self, timer: &T, deadline: Instant)
    where
        T: Timer + Clone + Send + Sync + 'static,
    {
        self.node.set_deadline(Deadline {
            at: deadline,
            clock: Arc::new(timer.clone()),
        });
    }

    /// Cancels this token and all its descendants, because of [`Reason::Requested`], and
    /// wakes their waiters.
    ///
    /// Does nothing if it was cancelled before: the first reason stays. Callable from
    /// anywhere, also from a destructor or a waker.
    pub fn cancel(&self) {
        self.node.cancel(&Reason::Requested);
    }

    /// [`cancel`](Self::cancel) for a reason, which the cancelled work can see.
    pub fn cancel_with(&self, reason: impl Into<Reason>) {
        self.node.cancel(&reason.into());
    }

    /// Was it cancelled, or its deadline reached?
    ///
    /// Costs one load; with a deadline, also a look at the clock.
    #[inline]
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.node.is_cancelled()
    }

    /// Goes on unless the work was cancelled: `token.check()?` in a loop.
    ///
    /// # Errors
    ///
    /// [`Cancelled`], with the reason, if [`is_cancelled`](Self::is_cancelled).
    #[inline]
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() {
            Err(self.error())
        } else {
            Ok(())
        }
    }

    #[cold]
    pub(super) fn error(&self) -> Cancelled {
        Cancelled::new(self.node.reason().expect("asked once it is cancelled"))
    }

    /// Why it was cancelled; `None` if it was not.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.node.reason()
    }

    /// When it is going to be cancelled by itself, if ever: the earliest deadline between it
    /// and its root.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.node.deadline().map(|deadline| deadline.at)
    }

    /// Waits until it is cancelled, and gives the reason.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only releases its waker.
    pub fn cancelled(&self) -> WaitForCancellation {
        WaitForCancellation::new(self.clone())
    }

    /// [`cancelled`](Self::cancelled), which needs no borrow of the token either. tokio-util has two
    /// kinds of futures for the two.
    ///
    /// # Cancel safety
    ///
    /// As [`cancelled`](Self::cancelled).
    pub fn cancelled_owned(self) -> WaitForCancellation {
        WaitForCancellation::new(self)
    }

    /// Runs `future` until it is ready or the token cancelled; in the latter case `future` is
    /// dropped before the error is returned.
    ///
    /// A `future` that is ready at the poll that would find the token cancelled wins, as with
    /// a timeout ([timeout and interval][TI-3]). If the token is cancelled before the first poll,
    /// `future` is not polled.
    ///
    /// # Cancel safety
    ///
    /// As safe as `future`, which is dropped with it.
    ///
    /// [TI-3]: crate::contract#TI-3
    pub fn run_until_cancelled<F: Future>(&self, future: F) -> RunUntilCancelled<F> {
        RunUntilCancelled::new(future, self.cancelled())
    }

    /// [`run_until_cancelled`](Self::run_until_cancelled), which needs no borrow of the token either.
    /// tokio-util has two kinds of futures for the two.
    ///
    /// # Cancel safety
    ///
    /// As [`run_until_cancelled`](Self::run_until_cancelled).
    pub fn run_until_cancelled_owned<F: Future>(self, future: F) -> RunUntilCancelled<F> {
        RunUntilCancelled::new(future, self.cancelled_owned())
    }

    /// Blocks the calling thread for `duration`, unless the work is cancelled: then it ends
    /// at once and says so. For sync code; async code has
    /// `token.run_until_cancelled(timer.sleep(duration))`.
    ///
    /// In an offloaded closure the slot is lent meanwhile, as by `block_on` ([nested offload never
    /// starves][OF-4]): other closures run, and this one takes a slot again before the call
    /// returns. So hold no lock here that a closure of the same pool takes. The thread's
    /// [hooks](crate::ParkHooks) are called.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] if the token was cancelled before the time was over, or before the call.
    ///
    /// # Panics
    ///
    /// On a thread that runs async code, which must not block, at the caller's line ([no blocking
    /// in async code][BL-2]).
    ///
    /// [OF-4]: crate::contract#OF-4
    /// [BL-2]: crate::contract#BL-2
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> Result<(), Cancelled> {
        match self.try_sleep(duration) {
            Ok(slept) => slept,
            Err(error) => panic!("{error}"),
        }
    }

    /// [`sleep`](Self::sleep) with an error in place of the panic.
    ///
    /// # Errors
    ///
    /// [`is_nested`](BlockOnError::is_nested) on a thread that runs async code; it has not
    /// slept. The inner result is that of `sleep`.
    pub fn try_sleep(&self, duration: Duration) -> Result<Result<(), Cancelled>, BlockOnError> {
        implement::check_may_block()?;
        Ok(sleep::sleep(self, duration))
    }

    /// Cancels the token when it is dropped, with [`Reason::Dropped`].
    pub fn drop_guard(self) -> DropGuard {
        DropGuard::new(self)
    }

    /// [`drop_guard`](Self::drop_guard) of a token that is needed again.
    pub fn drop_guard_ref(&self) -> DropGuardRef<'_> {
        DropGuardRef::new(self)
    }

    /// Calls `f` with this token as the current one.
    pub fn scope<R>(&self, f: impl FnOnce() -> R) -> R {
        self.attach(Values::current()).scope(f)
    }

    /// Makes this token the current one whenever `future` is polled or dropped, together with
    /// the values that are current where this is called.
    pub fn scope_future<F: Future>(&self, future: F) -> WithValues<F> {
        self.attach(Values::current()).scope_future(future)
    }

    /// `values`, with this token as the current one. For code that keeps values itself.
    ///
    /// Gives `values` unchanged, and allocates nothing, if it is the current one there already.
    /// Otherwise values may be dropped or cloned, as by [`Values::with`].
    ///
    /// # Panics
    ///
    /// With a panic of that code.
    #[must_use]
    pub fn attach(&self, values: Values) -> Values {
        // One that has yet to be made is another one.
        let current = values.look_at_token(&CURRENT).ok().flatten();
        if current.is_some_and(|current| current.is_same(self)) {
            return values;
        }
        values.with(&CURRENT, self.clone())
    }

    /// See [`implement::is_unshared`](crate::implement::is_unshared).
    pub(crate) fn is_unshared(&self, handles: usize) -> bool {
        // Children and waiters hold the node as well.
        let unshared = Arc::strong_count(&self.node) == handles;
        // Pairs with the Release with which another holder has let go.
        fence(Ordering::Acquire);
        unshared && !self.node.is_marked()
    }

    /// Is `other` a clone of this one?
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.node, &other.node)
    }
}

impl Default for CancellationToken {
    fn default() -> Self {
        Self::new()
    }
}

/// Clones of one token are equal, and no others ([`is_same`](CancellationToken::is_same)).
impl PartialEq for CancellationToken {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
    }
}

impl Eq for CancellationToken {}

impl Hash for CancellationToken {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.node).hash(state);
    }
}

// A token is changed under its locks, and no foreign code runs under them: a panic elsewhere leaves
// it whole. Said here because it keeps the clock of a deadline as a trait object.
impl UnwindSafe for CancellationToken {}
impl RefUnwindSafe for CancellationToken {}

/// Shows a token as it is: a deadline that has passed does not cancel it here. Formatters may hold
/// locks, and a cancellation calls wakers.
impl fmt::Debug for CancellationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancellationToken")
            .field("reason", &self.node.reason_so_far())
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}
