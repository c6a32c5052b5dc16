//! Results of children that wait for their reader: [`ResultQueue`].

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use fourway_core::implement::wake;

use crate::{
    ChildError,
    sync::{Mutex, MutexGuard, lock},
};

/// The results of children that have ended, in the order in which they have, until somebody
/// reads them.
pub(crate) struct ResultQueue<T, E>(Mutex<State<T, E>>);

type ChildResult<T, E> = Result<T, ChildError<E>>;

struct State<T, E> {
    ready: VecDeque<ChildResult<T, E>>,
    /// Children that have not ended.
    running: usize,
    reader: Option<Waker>,
    /// Nobody reads any more.
    left: bool,
}

impl<T, E> ResultQueue<T, E> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            ready: VecDeque::new(),
            running: 0,
            reader: None,
            left: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        lock(&self.0)
    }

    /// A child begins.
    pub(crate) fn begin(&self) {
        self.lock().running += 1;
    }

    /// A child has ended. Its result comes back if nobody reads any more.
    pub(crate) fn end(&self, result: ChildResult<T, E>) -> Option<ChildResult<T, E>> {
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

    /// The next result; `None` if no child is left whose result has not been read.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<ChildResult<T, E>>> {
        // Cloned and dropped outside of the lock, for it is foreign code.
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
        self.lock().ready.pop_front()
    }

    /// How many children there are whose result has not been read.
    pub(crate) fn len(&self) -> usize {
        let state = self.lock();
        state.running + state.ready.len()
    }

    /// Nobody reads from here on. What has not been read comes back.
    pub(crate) fn leave(&self) -> VecDeque<ChildResult<T, E>> {
        let mut state = self.lock();
        state.left = true;
        std::mem::take(&mut state.ready)
    }
}
