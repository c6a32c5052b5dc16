//! The handle on a task.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Weak, atomic::Ordering},
    task::{Context, Poll},
    thread,
    time::Duration,
};

use fourway_adapt::{
    self as adapt,
    fork::{self, Process},
};
use fourway_core::{
    AbortHandle, BlockOnError, JoinError, Task,
    context::{self, Context as Code},
    implement::{self, Abort, RuntimeId, wait_for},
    task::Metadata,
};

use crate::{
    bugs::Bug,
    odd::{self, Odd},
};

use super::{
    Inner,
    block_on::drive_unhooked,
    cell::{Cell, End, Run},
    enter,
    join::Join,
    life::tell_parent,
    lock,
};

pub(crate) struct BrokenTask<T: Send + 'static> {
    pub(super) cell: Option<Arc<Cell>>,
    pub(super) join: Arc<Join<T>>,
    /// For [`Bug::LazySpawn`].
    pub(super) start: Option<Arc<Inner>>,
    /// For [`Bug::HandleDoesNotKeep`], in place of `cell`.
    pub(super) weak: Weak<Cell>,
    pub(super) id: RuntimeId,
    pub(super) metadata: Metadata,
    /// The process to which it belongs.
    pub(super) process: Process,
    pub(super) polled: bool,
    pub(super) done: bool,
}

impl<T: Send + 'static> BrokenTask<T> {
    pub(super) fn cell(&self) -> Option<Arc<Cell>> {
        self.cell.clone().or_else(|| self.weak.upgrade())
    }

    /// From before a fork, it belongs to the parent.
    fn is_inherited(&self) -> bool {
        !self.process.is_this() && self.join.bug != Bug::ForkedJoinHangs
    }

    /// For [`Bug::DestroyUnderRuntimeLock`]: looks need the same lock.
    fn look(&self) {
        if let (Some(cell), Bug::DestroyUnderRuntimeLock) = (&self.cell, self.join.bug) {
            drop(lock(&cell.inner.state));
        }
    }
}

impl<T: Send + 'static> Future for BrokenTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_inherited() {
            return Poll::Ready(Err(fork::error(&self.metadata)));
        }
        let mut poll = self.poll_join(cx);
        if let (Poll::Ready(Err(error)), false) = (&mut poll, self.join.bug == Bug::ErrorOfNoTask) {
            error.set_task(&self.metadata);
        }
        poll
    }
}

impl<T: Send + 'static> BrokenTask<T> {
    fn poll_join(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        if let (Some(inner), Some(cell)) = (self.start.take(), &self.cell) {
            inner.push(cell.clone());
        }
        let bug = self.join.bug;
        let join = self.join.clone();
        self.look();
        if bug == Bug::HandleBoundToExecutor {
            let foreign = implement::runtime_id() != Some(self.id);
            let wrong = context::current() == Code::Async && foreign;
            assert!(!wrong, "polled on another executor");
        }
        if !std::mem::replace(&mut self.polled, true) && bug == Bug::JoinPendsOnce {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let waker = cx.waker().clone();
        let mut state = lock(&join.state);
        if self.done && bug == Bug::PolledAgainPends {
            return Poll::Pending;
        }
        assert!(!self.done, "polled after it was ready");
        if let Some(result) = state.result.take() {
            drop(state);
            self.done = true;
            if bug == Bug::PanicRethrownAtJoin {
                if let Err(error) = result {
                    if error.is_panic() {
                        error.resume_unwind();
                    }
                    return Poll::Ready(Err(error));
                }
            }
            return Poll::Ready(result);
        }
        if bug == Bug::JoinLosesRace && state.joiner.is_some() {
            // The old one out, the new one in, and no look in between.
            let before = state.joiner.take();
            drop(state);
            drop(before);
            thread::sleep(Duration::from_micros(200));
            lock(&join.state).joiner = Some(waker);
            return Poll::Pending;
        }
        let before = if bug != Bug::FirstJoinerWins || state.joiner.is_none() {
            state.joiner.replace(waker)
        } else {
            Some(waker)
        };
        if bug == Bug::WakesUnderLock {
            drop(before);
            return Poll::Pending;
        }
        drop(state);
        drop(before);
        Poll::Pending
    }
}

pub(super) fn abort(cell: &Arc<Cell>) {
    if cell.inner.is(Bug::AbortIgnoredWhileRunning) {
        let run = lock(&cell.state).run;
        if matches!(run, Run::Running | Run::Notified) {
            return;
        }
    }
    enter(cell.inner.bug);
    let before = cell.aborted.swap(true, Ordering::SeqCst);
    match cell.inner.bug {
        Bug::AbortTwicePanics => assert!(!before, "aborted twice"),
        Bug::CancelWaitsForWake => return,
        Bug::AbortDestroysInline => {
            // It is suspended, or soon will be, if this is not its own poll.
            for _ in 0..200 {
                if lock(&cell.state).run != Run::Running {
                    break;
                }
                thread::sleep(Duration::from_micros(100));
            }
            let mut state = lock(&cell.state);
            if state.run == Run::Idle {
                state.run = Run::Done;
                let future = state.future.take();
                drop(state);
                return (cell.end)(future, End::Cancelled);
            }
        }
        _ => {}
    }
    if odd::is(Odd::DestroysElsewhere) && cell.inner.destroy_elsewhere(cell) {
        return;
    }
    cell.clone().notify();
}

impl<T: Send + 'static> Task<T> for BrokenTask<T> {
    fn is_finished(&self) -> bool {
        if self.is_inherited() {
            return true;
        }
        self.look();
        lock(&self.join.state).finished
    }

    fn abort(&self) {
        if self.is_inherited() {
            return;
        }
        let Some(cell) = &self.cell() else { return };
        if self.join.bug == Bug::CancelLosesOutput {
            let lost = lock(&self.join.state).result.take();
            if lost.is_some() {
                lock(&self.join.state).result = Some(Err(JoinError::cancelled()));
            }
        }
        abort(cell);
        if self.join.bug == Bug::CancelDoesNotWait {
            self.join.fill(Err(JoinError::cancelled()));
        }
    }

    fn abort_handle(&self) -> AbortHandle {
        struct Handle<T>(Weak<Cell>, Option<Arc<Cell>>, Arc<Join<T>>, Process);
        impl<T: Send + 'static> Abort for Handle<T> {
            fn abort(&self) {
                if !self.3.is_this() {
                    return;
                }
                if lock(&self.2.state).abandoned && self.2.bug == Bug::AbortHandleDiesOnDetach {
                    return;
                }
                if let Some(cell) = self.1.clone().or_else(|| self.0.upgrade()) {
                    abort(&cell);
                }
            }

            fn is_finished(&self) -> bool {
                !self.3.is_this() || lock(&self.2.state).finished
            }
        }
        impl<T> Drop for Handle<T> {
            fn drop(&mut self) {
                if !self.3.is_this() {
                    std::mem::forget((self.0.clone(), self.1.take(), self.2.clone()));
                    return;
                }
                if let (Some(cell), Bug::AbortHandleCancels) = (&self.1, self.2.bug) {
                    abort(cell);
                }
            }
        }
        let cell = self.cell.clone();
        let weak = cell.as_ref().map(Arc::downgrade);
        let weak = weak.unwrap_or_else(|| self.weak.clone());
        AbortHandle::new(Arc::new(Handle(
            weak,
            cell,
            self.join.clone(),
            self.process,
        )))
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }

    fn detach(mut self) {
        if self.is_inherited() {
            return;
        }
        if let (Some(cell), Bug::DetachCancels) = (&self.cell, self.join.bug) {
            abort(cell);
        }
        self.cell = None;
        self.weak = Weak::new();
        self.join.abandon();
    }

    fn detach_boxed(self: Box<Self>) {
        if self.join.bug == Bug::BoxedDetachCancels {
            return;
        }
        (*self).detach();
    }

    fn try_wait(&mut self) -> Result<Result<T, JoinError>, BlockOnError> {
        if self.join.bug != Bug::WaitBlocksExecutor {
            implement::check_may_block()?;
        }
        match self.join.bug {
            // Only parks the thread.
            Bug::WaitBlocksExecutor | Bug::WaitKeepsSlot => Ok(adapt::run(self)),
            Bug::HandleWaitsUnhooked => Ok(drive_unhooked(self)),
            _ => wait_for(self),
        }
    }
}

impl<T: Send + 'static> Drop for BrokenTask<T> {
    fn drop(&mut self) {
        if !self.process.is_this() && self.join.bug == Bug::ForkedPipeShared {
            tell_parent();
        }
        if self.is_inherited() && self.join.bug != Bug::ForkedDropDestroys {
            // Inherited values are not destroyed.
            std::mem::forget((self.cell.take(), self.weak.clone(), self.join.clone()));
            return;
        }
        let Some(cell) = self.cell() else { return };
        enter(self.join.bug);
        self.join.abandon();
        match self.join.bug {
            Bug::DetachOnDrop => {}
            // Lost if the task has not begun: the flag is checked only after a wake, and this does
            // not wake it.
            Bug::CancelLostWhenDropped => cell.aborted.store(true, Ordering::SeqCst),
            _ => abort(&cell),
        }
    }
}
