//! The nursery as what is inside of its children sees it, and what outlives a child: [`Held`].

use std::sync::Arc;

use fourway_core::{
    JoinError, Payload, Runtime,
    cancel::CancellationToken,
    implement::{Enclosing, Hold},
};

use super::Shared;
use crate::error::Failure;

impl<R: Runtime, E: Send + 'static> Shared<R, E> {
    /// Keeps the nursery open: for what outlives the future of a child that is still there.
    pub(crate) fn hold_open(&self) {
        self.lock().holds += 1;
    }

    /// Takes [`hold_open`](Self::hold_open) back.
    pub(crate) fn release(&self) {
        let mut state = self.lock();
        state.holds -= 1;
        let last = state.last();
        drop(state);
        if let Some(last) = last {
            last.tell();
        }
    }
}

impl<R: Runtime, E: Send + 'static> Enclosing for Shared<R, E> {
    fn hold(self: Arc<Self>) -> Option<Box<dyn Hold>> {
        let mut state = self.lock();
        if state.is_over() {
            return None;
        }
        state.holds += 1;
        drop(state);
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
        f();
    }

    fn panicked(&mut self, payload: Payload) {
        let failure = Failure::Join(JoinError::panicked(payload));
        self.shared.failed(failure);
    }
}

impl<R: Runtime, E: Send + 'static> Drop for Held<R, E> {
    fn drop(&mut self) {
        self.shared.release();
    }
}
