//! The places and the line, which the threads of a nursery share.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use fourway_core::{
    cancel::Reason,
    implement::{enclose, wake},
    values::Values,
};

use crate::{
    carried::Carried,
    error::Failure,
    sync::{Mutex, MutexGuard, lock},
};

use super::outcomes::SyncOutcomes;

/// The state that the threads share.
pub(super) struct SyncShared<'scope, E> {
    pub(super) outcome: Arc<SyncOutcomes<E>>,
    /// What is current in the body, and in most children.
    pub(super) of_body: Values,
    pub(super) line: Mutex<Line<'scope>>,
}

pub(super) struct Line<'scope> {
    pub(super) limit: usize,
    pub(super) taken: usize,
    pub(super) waiting: VecDeque<Job<'scope>>,
    pub(super) spawned: bool,
    /// The nursery's own thread, which waits for the last to end.
    pub(super) host: Option<Waker>,
}

/// A child.
pub(super) type Job<'scope> = Box<dyn FnOnce(Turn) + Send + 'scope>;

/// The fate of a child whose turn has come.
pub(super) enum Turn {
    Run,
    /// It ends as cancelled, unrun.
    Cancelled,
    /// The system has no thread for it: it ends as failed, unrun.
    Unstarted(io::Error),
}

impl<'scope, E: Send + 'static> SyncShared<'scope, E> {
    pub(super) fn lock(&self) -> MutexGuard<'_, Line<'scope>> {
        lock(&self.line)
    }

    /// What travels into a child from here and now.
    pub(super) fn carried(&self, with_context: bool) -> Carried {
        if !with_context {
            return Carried::nothing(enclose(Values::default(), &self.outcome.me));
        }
        let values = Values::current();
        Carried::new(if values.is_same(&self.of_body) {
            values
        } else {
            self.outcome.around(values)
        })
    }

    /// The next in line, if there is a free place for it.
    pub(super) fn granted(&self) -> Option<Job<'scope>> {
        let mut line = self.lock();
        if line.taken >= line.limit {
            return None;
        }
        let next = line.waiting.pop_front()?;
        line.taken += 1;
        Some(next)
    }

    /// The next in line. It gets the place of the child that has ended, or that place becomes free.
    pub(super) fn next(&self) -> Option<Job<'scope>> {
        let mut line = self.lock();
        // Unless the limit has been lowered meanwhile.
        let next = match line.taken <= line.limit {
            true => line.waiting.pop_front(),
            false => None,
        };
        let mut host = None;
        if next.is_none() {
            line.taken -= 1;
            if line.taken == 0 {
                host = line.host.take();
            }
        }
        drop(line);
        host.into_iter().for_each(wake);
        next
    }

    /// Waits until no child is running or in line.
    pub(super) fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        // Cloned and dropped outside of the lock, because it is foreign code.
        let mut waker = Some(cx.waker().clone());
        let mut line = self.lock();
        let poll = if line.taken == 0 {
            Poll::Ready(())
        } else {
            std::mem::swap(&mut line.host, &mut waker);
            Poll::Pending
        };
        drop(line);
        drop(waker);
        poll
    }

    /// Records a failure, and cancels the others if the policy says so, or if it is the body's
    /// or that of the system, which has no thread.
    pub(super) fn failed(&self, failure: Failure<E>, of_all: bool) {
        self.outcome.record(failure);
        if of_all || !self.outcome.supervise {
            self.cancel(Reason::SiblingFailed);
        }
    }

    pub(super) fn cancel(&self, reason: Reason) {
        self.outcome.cancel(reason);
        let waiting = std::mem::take(&mut self.lock().waiting);
        for job in waiting {
            job(Turn::Cancelled);
        }
    }
}
