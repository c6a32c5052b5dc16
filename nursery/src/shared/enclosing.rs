//! The nursery as seen by the work inside of its children, and the work that outlives a child:
//! [`Held`].

use std::{
    cell::Cell,
    sync::{Arc, Weak},
    thread::panicking,
};

use fourway_core::{
    JoinError, Payload, Runtime,
    cancel::CancellationToken,
    implement::{Enclosing, Hold},
};

use super::Shared;
use crate::{error::Failure, sync::thread_local};

thread_local! {
    /// The work that the calling thread runs for a [`Held`].
    static RUNNING: Cell<Option<Running>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Running {
    /// The address of the nursery.
    nursery: usize,
    /// The thread was unwinding when it began.
    unwinding: bool,
}

impl<R: Runtime, E: Send + 'static> Shared<R, E> {
    /// This nursery, for the context of children.
    pub(crate) fn me(self: &Arc<Self>) -> Weak<dyn Enclosing> {
        let me: Weak<Self> = Arc::downgrade(self);
        me
    }

    /// Keeps the nursery open for work that outlives the future of a child, while the child is
    /// still there.
    pub(crate) fn hold_open(&self) {
        let held = self.try_hold_open();
        debug_assert!(held || self.is_inherited(), "the child keeps it open");
    }

    fn try_hold_open(&self) -> bool {
        if self.is_inherited() {
            return false;
        }
        let mut state = self.lock();
        let held = self.members.hold();
        state.holds += usize::from(held);
        held
    }

    /// Is the calling thread running work that outlives the future of a child, and unwinding because
    /// of a panic in it?
    pub(crate) fn is_unwound(&self) -> bool {
        let running = RUNNING.try_with(Cell::get).ok().flatten();
        let ours = running.filter(|running| running.nursery == self.address());
        panicking() && ours.is_some_and(|running| !running.unwinding)
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Takes [`hold_open`](Self::hold_open) back.
    pub(crate) fn release(&self) {
        self.leave_with(|state| state.holds -= 1);
    }
}

impl<R: Runtime, E: Send + 'static> Enclosing for Shared<R, E> {
    fn hold(self: Arc<Self>) -> Option<Box<dyn Hold>> {
        if !self.try_hold_open() {
            return None;
        }
        Some(Box::new(Held {
            shared: self,
            #[cfg(feature = "tracing")]
            span: tracing::Span::current(),
        }))
    }

    fn killed(&self) -> CancellationToken {
        self.kill_token()
    }

    fn drops(&self) -> bool {
        self.drops_all()
    }

    fn token(&self) -> CancellationToken {
        Self::token(self).clone()
    }
}

/// Something inside of a child that may outlive it.
struct Held<R: Runtime, E: Send + 'static> {
    shared: Arc<Shared<R, E>>,
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl<R: Runtime, E: Send + 'static> Hold for Held<R, E> {
    fn around(&self, f: &mut dyn FnMut()) {
        #[cfg(feature = "tracing")]
        let _entered = self.span.enter();
        let running = Running {
            nursery: self.shared.address(),
            unwinding: panicking(),
        };
        let before = RUNNING.try_with(|current| current.replace(Some(running)));
        let _restore = Restore(before.ok().flatten());
        f();
    }

    fn panicked(&mut self, payload: Payload) {
        let failure = Failure::Join(JoinError::panicked(payload));
        self.shared.failed(failure);
    }
}

/// Restores [`RUNNING`].
struct Restore(Option<Running>);

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = RUNNING.try_with(|current| current.set(self.0));
    }
}

impl<R: Runtime, E: Send + 'static> Drop for Held<R, E> {
    fn drop(&mut self) {
        if self.shared.is_inherited() {
            // Never the last to hold anything of the parent's.
            return std::mem::forget(self.shared.clone());
        }
        self.shared.release();
    }
}
