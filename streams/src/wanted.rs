//! Telling a closure that reads an iterator that its result is wanted no more: [`Wanted`].

use std::sync::Arc;

use crate::sync::atomic::{AtomicBool, Ordering};

/// Dropped by who waits for what a closure reads.
pub(crate) struct Wanted {
    /// Pairs with no other access: a closure that sees it stops, and reads no other data because of
    /// it.
    over: Arc<AtomicBool>,
}

impl Wanted {
    pub(crate) fn new() -> Self {
        Self {
            over: Arc::new(AtomicBool::new(false)),
        }
    }

    /// The iterator that `make` makes, up to the item at which nobody wants it any more.
    pub(crate) fn reads<I: Iterator, F: FnOnce() -> I>(
        &self,
        make: F,
    ) -> impl FnOnce() -> WhileWanted<I> + use<I, F> {
        let over = self.over.clone();
        move || WhileWanted {
            iterator: make(),
            over,
        }
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

pub(crate) struct WhileWanted<I> {
    iterator: I,
    over: Arc<AtomicBool>,
}

impl<I: Iterator> Iterator for WhileWanted<I> {
    type Item = I::Item;

    #[inline]
    fn next(&mut self) -> Option<I::Item> {
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        self.iterator.next()
    }

    /// The iterator's own, so that a `Vec` has room at once.
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.iterator.size_hint()
    }
}
