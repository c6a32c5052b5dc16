//! Cancelling: asking the body and the children to end, and dropping them.

use fourway_core::{
    Runtime, Task,
    cancel::{CancellationToken, Reason},
    implement::{discard, wake},
};

use super::Shared;
use crate::sync::atomic::Ordering;

impl<R: Runtime, E: Send + 'static> Shared<R, E> {
    /// Asks the body and the children to end, and has them dropped if there is no grace.
    pub(crate) fn cancel(&self, reason: &Reason) {
        if self.is_inherited() {
            // What there is to cancel is the parent's.
            return;
        }
        if !self.is_asked() {
            self.ledger(&mut self.lock()).by_itself = true;
        }
        self.token().cancel_with(reason.clone());
        self.stop_starting();
        if self.settings.grace.is_zero() {
            self.drop_all(reason.clone());
        }
    }

    /// The nursery's future is dropped: everything must end at once.
    ///
    /// If it is dropped because the outer nursery drops its children, shields hold as they do
    /// there. Then this nursery ends without its future, and the outer one waits for that.
    pub(crate) fn abandon(&self) {
        let around = self.around.as_ref();
        let cut = around.is_some_and(|around| around.drops() && !around.killed().is_cancelled());
        self.token().cancel_with(Reason::Dropped);
        self.leave_unread();
        self.stop_starting();
        if cut {
            return self.drop_all(Reason::Dropped);
        }
        self.abandoned.store(true, Ordering::Release);
        self.drop_all(Reason::Dropped);
        // After the flag: a child that asks for the token later sees the flag under the lock.
        let kill = self.lock().kill.clone();
        if let Some(kill) = kill {
            kill.cancel_with(Reason::Dropped);
        }
    }

    /// Children that have not started never start.
    pub(crate) fn stop_starting(&self) {
        let mut state = self.lock();
        if state.cancelling && state.line.as_ref().is_none_or(|line| line.is_empty()) {
            return;
        }
        state.cancelling = true;
        self.members.guard();
        let line = state.line.as_mut().map(|line| line.take());
        let closures = state.closures.take();
        drop(state);
        for in_line in line.into_iter().flatten() {
            if let Some(start) = in_line.start {
                // Ends the child, which is told as cancelled.
                discard(start);
            }
            in_line.waiter.into_iter().for_each(wake);
        }
        for closure in closures {
            // Not yet started, it is destroyed here (OF-3, cancelled closures); running, it looks
            // at its token.
            closure.abort();
            closure.detach();
        }
    }

    /// The token that children wait for: they are dropped when it is cancelled.
    pub(crate) fn hard(&self) -> &CancellationToken {
        self.hard.get_or_init(CancellationToken::new)
    }

    /// Drops everything that is not in a shield.
    pub(crate) fn drop_all(&self, reason: Reason) {
        self.hard().cancel_with(reason);
    }

    /// Must everything be dropped that is not in a shield?
    pub(crate) fn drops_all(&self) -> bool {
        // If the token is not there, it was not cancelled. A child that comes to wait for it at the
        // same moment makes it or finds it, and looks then.
        self.hard.get().is_some_and(CancellationToken::is_cancelled)
    }

    /// Must a child be dropped that is in a shield, or is not?
    pub(crate) fn is_to_be_dropped(&self, shielded: bool) -> bool {
        self.drops_all() && (!shielded || self.kill_token().is_cancelled())
    }

    /// The token that a child in a shield waits for when it must be dropped: shields hold against
    /// all but the end of the nursery's future, or of one around it.
    pub(crate) fn kill_token(&self) -> CancellationToken {
        if self.is_inherited() {
            // Nobody cancels in this process what is the parent's.
            return CancellationToken::new();
        }
        let known = self.lock().kill.clone();
        let kill = known.unwrap_or_else(|| {
            // Made outside of the lock, because it takes those of the nurseries around.
            let fresh = match &self.around {
                Some(around) => around.killed().child(),
                None => CancellationToken::new(),
            };
            let mut state = self.lock();
            let kill = state.kill.get_or_insert_with(|| fresh.clone()).clone();
            drop(state);
            kill
        });
        if self.abandoned.load(Ordering::Acquire) {
            kill.cancel_with(Reason::Dropped);
        }
        kill
    }
}
