//! The handles of closures that have not ended, so that they can be cancelled before they start:
//! [`Closures`].

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, DefaultHasher},
};

use fourway_core::{Runtime, Task};

use super::Shared;

pub(super) struct Closures<R: Runtime> {
    /// `None` until the handle is there, or after it was used.
    // The numbers are ours, so the hasher needs no random keys, which each nursery would have to
    // ask for.
    handles: HashMap<u64, Option<R::OffloadTask<()>>, BuildHasherDefault<DefaultHasher>>,
    /// The last number that was given.
    number: u64,
}

impl<R: Runtime> Closures<R> {
    pub(super) fn new() -> Self {
        Self {
            handles: HashMap::default(),
            number: 0,
        }
    }

    /// The closure with that number has ended.
    pub(super) fn remove(&mut self, number: u64) -> Option<R::OffloadTask<()>> {
        self.handles.remove(&number).flatten()
    }

    /// All handles, to be cancelled.
    pub(super) fn take(&mut self) -> Vec<R::OffloadTask<()>> {
        self.handles.values_mut().filter_map(Option::take).collect()
    }
}

impl<R: Runtime, E: Send + 'static> Shared<R, E> {
    /// A number for a closure, so that its handle can be kept under it.
    pub(crate) fn closure_number(&self) -> u64 {
        let mut state = self.lock();
        state.closures.number += 1;
        let number = state.closures.number;
        state.closures.handles.insert(number, None);
        number
    }

    /// Keeps a closure's handle, for as long as the closure has not ended, so that it can be
    /// cancelled before it starts.
    pub(crate) fn keep_closure(&self, number: u64, handle: R::OffloadTask<()>) {
        let mut state = self.lock();
        let cancelling = state.cancelling;
        let handle = match state.closures.handles.get_mut(&number) {
            Some(slot) if !cancelling => {
                *slot = Some(handle);
                None
            }
            Some(_) | None => Some(handle),
        };
        drop(state);
        if let Some(handle) = handle {
            // Over already, or to be cancelled like those that `stop_starting` found.
            if cancelling {
                handle.abort();
            }
            handle.detach();
        }
    }
}
