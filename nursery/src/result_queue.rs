//! Results of ended children, which wait for their reader: [`ResultQueue`].

use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use fourway_core::{
    JoinError,
    implement::{fork::Process, wake},
};

use crate::{
    ChildError,
    error::Failure,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        lock,
    },
};

/// The unread results of ended children, in the order in which the children ended.
pub(crate) struct ResultQueue<T, E> {
    /// In which it, or its nursery, was made. In a forked child the results are the parent's, and the lock may be
    /// held for ever (FK-1, forked children).
    process: Process,
    /// The reader, in a forked child, has been told of the fork.
    told: AtomicBool,
    state: Mutex<State<T, E>>,
}

type ChildResult<T, E> = Result<T, ChildError<E>>;

struct State<T, E> {
    ready: VecDeque<ChildResult<T, E>>,
    /// Children that have not ended.
    running: usize,
    reader: Option<Waker>,
    /// The reader has left.
    left: bool,
}

impl<T, E> ResultQueue<T, E> {
    /// For children of a nursery that was made in `process`.
    pub(crate) fn new(process: Process) -> Self {
        Self {
            process,
            told: AtomicBool::new(false),
            state: Mutex::new(State {
                ready: VecDeque::new(),
                running: 0,
                reader: None,
                left: false,
            }),
        }
    }

    fn is_inherited(&self) -> bool {
        !self.process.is_this()
    }

    /// The results in a forked child: one, which says so, as if of all children.
    #[cold]
    fn next_in_child(&self) -> Option<ChildResult<T, E>> {
        // Relaxed: the reader asks alone.
        let told = self.told.swap(true, Ordering::Relaxed);
        (!told).then(|| Err(ChildError::failed(Failure::Join(JoinError::forked()))))
    }

    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        lock(&self.state)
    }

    /// A child begins.
    pub(crate) fn begin(&self) {
        if self.is_inherited() {
            return;
        }
        self.lock().running += 1;
    }

    /// A child has ended. Its result comes back if the reader has left.
    pub(crate) fn end(&self, result: ChildResult<T, E>) -> Option<ChildResult<T, E>> {
        if self.is_inherited() {
            return Some(result);
        }
        let mut state = self.lock();
        state.running -= 1;
        let reader = state.reader.take();
        if state.left {
            drop(state);
            drop(reader);
            return Some(result);
        }
        state.ready.push_back(result);
        drop(state);
        reader.into_iter().for_each(wake);
        None
    }

    /// The next result; `None` if all results have been read.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<ChildResult<T, E>>> {
        if self.is_inherited() {
            return Poll::Ready(self.next_in_child());
        }
        // Cloned and dropped outside of the lock, because it is foreign code.
        let mut waker = Some(cx.waker().clone());
        let mut state = self.lock();
        let poll = match state.ready.pop_front() {
            Some(result) => Poll::Ready(Some(result)),
            None if state.running == 0 => Poll::Ready(None),
            None => {
                std::mem::swap(&mut state.reader, &mut waker);
                Poll::Pending
            }
        };
        drop(state);
        drop(waker);
        poll
    }

    pub(crate) fn try_next(&self) -> Option<ChildResult<T, E>> {
        if self.is_inherited() {
            return self.next_in_child();
        }
        self.lock().ready.pop_front()
    }

    /// How many children have a result that has not been read.
    pub(crate) fn len(&self) -> usize {
        if self.is_inherited() {
            return usize::from(!self.told.load(Ordering::Relaxed));
        }
        let state = self.lock();
        state.running + state.ready.len()
    }

    /// The reader leaves. The unread results come back.
    pub(crate) fn leave(self: &Arc<Self>) -> VecDeque<ChildResult<T, E>> {
        if self.is_inherited() {
            // Never the last: results that are there are the parent's.
            mem::forget(self.clone());
            return VecDeque::new();
        }
        let mut state = self.lock();
        state.left = true;
        std::mem::take(&mut state.ready)
    }
}
