//! One local task: its future, the place for its result, its handle.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    AbortHandle, JoinError,
    implement::{Abort, discard, wake},
    sync::atomic::{AtomicBool, Ordering},
    task::Metadata,
    woken::{Ticket, WeakWoken},
};

/// The part of a task that is known to all threads. Wakers and handles share it.
pub(super) struct Control {
    pub(super) number: u64,
    pub(super) aborted: AtomicBool,
    pub(super) finished: AtomicBool,
    /// Where to say that no waker and no handle is left.
    lost: Option<WeakWoken<Self>>,
}

impl Control {
    pub(super) fn of_main(number: u64) -> Self {
        Self::new(number, None)
    }

    pub(super) fn of_task(number: u64, lost: WeakWoken<Self>) -> Self {
        Self::new(number, Some(lost))
    }

    fn new(number: u64, lost: Option<WeakWoken<Self>>) -> Self {
        Self {
            number,
            aborted: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            lost,
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        // Acquire pairs with the Release after the future was destroyed.
        self.finished.load(Ordering::Acquire)
    }
}

impl Drop for Control {
    /// Nobody can wake or abort the task any more: if it has not ended, it is to be destroyed, on
    /// its own thread (WA-3, lost tasks are destroyed). That which says so is an aborted control
    /// that loses nothing itself.
    fn drop(&mut self) {
        if self.is_finished() {
            return;
        }
        if let Some(lost) = self.lost.take() {
            let told = Self::new(self.number, None);
            // Relaxed: the queue's lock publishes it.
            told.aborted.store(true, Ordering::Relaxed);
            lost.wake_for(told);
        }
    }
}

/// Marks the task and wakes it: the rest is done on its thread.
fn abort(control: &Arc<Ticket<Control>>) {
    // Release pairs with the Acquire before and after each poll.
    control.aborted.store(true, Ordering::Release);
    control.wake_by_ref();
}

/// An [`AbortHandle`]'s target.
struct RemoteAbort(Arc<Ticket<Control>>);

impl Abort for RemoteAbort {
    fn abort(&self) {
        abort(&self.0);
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

/// A task's future with the place for its result, its type forgotten.
pub(super) trait LocalFuture {
    /// Is it ready, or has it panicked? Then it is destroyed as well.
    fn poll_local(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool;
    /// Destroys it unfinished.
    fn end(self: Pin<&mut Self>, reason: JoinError);
}

pin_project_lite::pin_project! {
    pub(super) struct Runner<F: Future> {
        #[pin]
        future: Option<F>,
        place: Place<F::Output>,
    }
}

/// The place for a task's result, which its future and its handle share.
type Place<T> = Rc<RefCell<Joint<T>>>;

pub(super) struct Joint<T> {
    result: Option<Result<T, JoinError>>,
    joiner: Option<Waker>,
    taken: bool,
}

pub(super) fn runner<F: Future>(future: F) -> (Pin<Box<Runner<F>>>, Place<F::Output>) {
    let place = Rc::new(RefCell::new(Joint {
        result: None,
        joiner: None,
        taken: false,
    }));
    let runner = Runner {
        future: Some(future),
        place: place.clone(),
    };
    (Box::pin(runner), place)
}

fn fill<T>(place: &RefCell<Joint<T>>, result: Result<T, JoinError>) {
    let mut joint = place.borrow_mut();
    if joint.taken {
        drop(joint);
        discard(result);
        return;
    }
    joint.result = Some(result);
    let joiner = joint.joiner.take();
    drop(joint);
    if let Some(joiner) = joiner {
        // May panic: in the middle of the drive, or of the end of all tasks.
        wake(joiner);
    }
}

impl<F: Future> LocalFuture for Runner<F> {
    fn poll_local(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let this = self.project();
        match crate::implement::poll_contained(this.future, None, cx) {
            Poll::Pending => false,
            Poll::Ready(result) => {
                fill(this.place, result.map_err(JoinError::panicked));
                true
            }
        }
    }

    fn end(self: Pin<&mut Self>, reason: JoinError) {
        let this = self.project();
        let error = match crate::implement::destroy_contained(this.future, None) {
            Ok(()) => reason,
            Err(payload) => JoinError::panicked(payload),
        };
        fill(this.place, Err(error));
    }
}

/// The handle of a local task. It keeps to the rules of
/// [`Task`](crate::Task), and to its thread.
///
/// # Cancel safety
///
/// As [`Task`](crate::Task): polling it borrows nothing, and dropping the handle cancels.
#[must_use = "dropping a task handle cancels the task; call `.detach()` to let it run on"]
pub struct LocalTask<T: 'static> {
    metadata: Metadata,
    place: Place<T>,
    control: Arc<Ticket<Control>>,
    attached: bool,
}

impl<T: 'static> LocalTask<T> {
    #[track_caller]
    pub(super) fn new(place: Place<T>, control: Arc<Ticket<Control>>) -> Self {
        Self {
            metadata: Metadata::caller(),
            place,
            control,
            attached: true,
        }
    }

    /// Has the task ended, and its future been destroyed?
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.control.is_finished()
    }

    /// Asks for cancellation, and returns at once.
    pub fn abort(&self) {
        abort(&self.control);
    }

    /// A handle that can cancel the task, also from another thread.
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle::new(Arc::new(RemoteAbort(self.control.clone())))
    }

    /// Where the task was spawned.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Lets the task run on without a handle.
    pub fn detach(mut self) {
        self.attached = false;
        self.give_up();
    }

    /// Asks for cancellation, at once ([cancel waits for the end][CA-3]); the future that it
    /// returns is ready when that of the task has been destroyed.
    ///
    /// # Errors
    ///
    /// The output is that of the join: cancelled, the panic of the task, or its output if it was
    /// ready before.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes nothing back, and waits for nothing.
    ///
    /// [CA-3]: crate::contract#CA-3
    #[must_use = "the task is cancelled; await this to know that it has ended"]
    pub fn cancel(self) -> Self {
        self.abort();
        self
    }

    /// The result will not be taken.
    fn give_up(&self) {
        let mut joint = self.place.borrow_mut();
        joint.taken = true;
        let result = joint.result.take();
        let joiner = joint.joiner.take();
        drop(joint);
        drop(joiner);
        discard(result);
    }
}

impl<T: 'static> Future for LocalTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker().clone();
        let mut joint = self.place.borrow_mut();
        assert!(!joint.taken, "a task handle was polled after it was ready");
        if let Some(mut result) = joint.result.take() {
            joint.taken = true;
            drop(joint);
            self.attached = false;
            if let Err(error) = &mut result {
                error.set_task(&self.metadata);
            }
            return Poll::Ready(result);
        }
        let before = joint.joiner.replace(waker);
        drop(joint);
        drop(before);
        Poll::Pending
    }
}

impl<T: 'static> Drop for LocalTask<T> {
    fn drop(&mut self) {
        if self.attached {
            self.give_up();
            self.abort();
        }
    }
}

impl<T: 'static> fmt::Debug for LocalTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTask")
            .field("finished", &self.is_finished())
            .finish()
    }
}
