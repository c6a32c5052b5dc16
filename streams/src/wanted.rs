//! Telling a closure that reads an iterator that its result is wanted no more: [`Wanted`].

use std::sync::Arc;

use crate::sync::atomic::{AtomicBool, Ordering};

/// Dropped by who waits for what a closure reads.
pub(crate) struct Wanted {
    over: Over,
}

/// Whether the [`Wanted`] has been dropped.
#[derive(Clone)]
pub(crate) struct Over {
    /// Pairs with no other access: a closure that sees it stops, and reads no other data because of
    /// it.
    is_over: Arc<AtomicBool>,
}

impl Over {
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

impl Wanted {
    pub(crate) fn new() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        Self {
            over: Over { is_over },
        }
    }

    pub(crate) fn over(&self) -> Over {
        self.over.clone()
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
        self.over.is_over.store(true, Ordering::Relaxed);
    }
}

pub(crate) struct WhileWanted<I> {
    iterator: I,
    over: Over,
}

impl<I: Iterator> Iterator for WhileWanted<I> {
    type Item = I::Item;

    #[inline]
    fn next(&mut self) -> Option<I::Item> {
        if self.over.is_over() {
            return None;
        }
        self.iterator.next()
    }

    /// The iterator's own, so that a `Vec` has room at once.
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.iterator.size_hint()
    }
}
