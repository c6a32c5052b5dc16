//! Counting events: [`Counter`].

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A number that tasks and threads share.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicUsize>);

impl Counter {
    /// Adds one; gives the new number.
    pub fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Subtracts one.
    pub fn sub(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Raises it to `n` if it is less.
    pub fn max(&self, n: usize) {
        self.0.fetch_max(n, Ordering::SeqCst);
    }

    /// Gives a value that counts when it is dropped.
    #[must_use]
    pub fn on_drop(&self) -> OnDrop {
        OnDrop(self.clone())
    }
}

/// Made by [`Counter::on_drop`].
#[derive(Debug)]
pub struct OnDrop(Counter);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}
