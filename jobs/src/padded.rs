//! Keeps a value apart from its neighbours: [`Padded`].

use std::ops::Deref;

/// A value on cache lines of its own, so that a thread that writes it does not slow down the threads
/// that read what is next to it. Two lines, as processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
