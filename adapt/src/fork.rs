//! Runtimes in forked children: watching for forks, and values that must not be dropped there.
//!
//! After `fork` the child has the thread that called it, and a copy of everything else: runtimes
//! without threads, and locks whose holders are gone. The parts of a runtime remember the
//! [`Process`] they were made in. In any other process they answer at once by themselves, without
//! touching a lock, a queue or an object of the system (FK-1, forked children).
//!
//! | for | there is |
//! |---|---|
//! | asking | [`Process::is_this`]: one load of a static |
//! | refusing work; a handle's answer | [`refuse`]; [`error`] |
//! | values that must not be dropped in a child | [`ForgetInChild`] |
//! | statics with one value per process | [`PerProcess`] |
//!
//! The parts of this crate, among them the pool, the timers and the ten-line adapter, do
//! all this themselves. An adapter that has shared state of its own puts it into a
//! `ForgetInChild`, and asks where work is handed over, joined and cancelled.
//!
//! On systems without `fork` all of this says that there is one process, and costs next to
//! nothing. Processes that are made without `fork`'s handlers (`vfork`, a bare `clone`) are
//! not noticed; they are there to call `exec`.

#![allow(
    unsafe_code,
    reason = "registering with the system, statics that can be replaced, and values that are \
              not dropped"
)]

use std::{
    fmt,
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use crate::sync::OnceLock;
pub use fourway_core::implement::fork::{Process, error, refuse};

/// Watches for forks from now on. Done by making a [`Pool`](crate::pool::Pool) or
/// [`Timers`](crate::timer::Timers); doing it again does nothing.
pub fn watch() {
    system::watch();
}

#[cfg(all(
    unix,
    not(any(target_os = "emscripten", miri, fourway_shuttle, fourway_loom))
))]
mod system {
    use std::sync::atomic::{AtomicBool, Ordering};

    use fourway_core::implement::fork::in_child;

    pub(super) fn watch() {
        // Not a `Once`, which a child could find half done for ever. Relaxed: the swap
        // alone decides. If two threads come here at once, one may return before the other has
        // registered, and a third may fork in between. That child finds the same as if it had
        // forked a moment earlier.
        static WATCHED: AtomicBool = AtomicBool::new(false);
        if WATCHED.load(Ordering::Relaxed) || WATCHED.swap(true, Ordering::Relaxed) {
            return;
        }
        // SAFETY: the handler may be called in a forked child: it adds to an atomic, which
        // is safe in a signal handler, and does not unwind. It is there as long as this
        // code is: a library that is unloaded takes its handlers with it.
        let failed = unsafe { libc::pthread_atfork(None, None, Some(child)) } != 0;
        if failed {
            // Out of memory; the next runtime tries again.
            WATCHED.store(false, Ordering::Relaxed);
        }
    }

    extern "C" fn child() {
        in_child();
    }
}

#[cfg(not(all(
    unix,
    not(any(target_os = "emscripten", miri, fourway_shuttle, fourway_loom))
)))]
mod system {
    pub(super) fn watch() {}
}

/// A value that is dropped in the process it was made in, and forgotten in a forked child.
///
/// Dropping a runtime takes its locks, wakes its threads and closes its system objects. In a child
/// the locks may be held for ever, the threads are not there, and a poller may be shared with the
/// parent. So the value stays until the child ends.
pub struct ForgetInChild<T> {
    value: ManuallyDrop<T>,
    process: Process,
}

impl<T> ForgetInChild<T> {
    /// `value` belongs to this process.
    pub fn new(value: T) -> Self {
        Self::of(Process::this(), value)
    }

    /// `value` belongs to `process`.
    pub fn of(process: Process, value: T) -> Self {
        Self {
            value: ManuallyDrop::new(value),
            process,
        }
    }

    /// Is this another process than the one the value was made in?
    #[inline]
    #[must_use]
    pub fn is_inherited(this: &Self) -> bool {
        !this.process.is_this()
    }
}

impl<T> Deref for ForgetInChild<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for ForgetInChild<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for ForgetInChild<T> {
    #[inline]
    fn drop(&mut self) {
        if self.process.is_this() {
            // SAFETY: no code touches the value after this: it is dropped here only, and there is
            // no other way to get it out.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for ForgetInChild<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Formatting the value may take its locks.
        if Self::is_inherited(self) {
            f.write_str("from before a fork")
        } else {
            (**self).fmt(f)
        }
    }
}

/// A value for each process, in a static.
///
/// If another thread was filling a `OnceLock` at the moment of a fork, the child can never fill it;
/// and a value that it holds may be useless there. A `PerProcess` is empty again in a forked child.
/// The parents' values are neither dropped nor touched.
pub struct PerProcess<T: 'static> {
    /// The entry of this process, or of a parent. Never freed.
    newest: AtomicPtr<Entry<T>>,
}

struct Entry<T> {
    process: Process,
    value: OnceLock<T>,
}

impl<T: Send + Sync + 'static> PerProcess<T> {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            newest: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// This process's value, if there is one.
    #[inline]
    pub fn get(&self) -> Option<&'static T> {
        self.entry()?.value.get()
    }

    /// This process's value; `make` makes it, if there is none. Of several threads that come
    /// here at once one calls it, and the others wait.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &'static T {
        self.entry_or_new().value.get_or_init(make)
    }

    /// Sets this process's value.
    ///
    /// # Errors
    ///
    /// Gives it back if there is one.
    #[cfg(not(any(fourway_shuttle, fourway_loom)))]
    pub fn set(&self, value: T) -> Result<(), T> {
        self.entry_or_new().value.set(value)
    }

    /// The entry of this process.
    #[inline]
    fn entry(&self) -> Option<&'static Entry<T>> {
        // Acquire pairs with the Release in `entry_or_new`.
        let newest = self.newest.load(Ordering::Acquire);
        // SAFETY: null, or from a leaked box, of which no `&mut` is made.
        let newest = unsafe { newest.as_ref::<'static>() };
        newest.filter(|entry| entry.process.is_this())
    }

    fn entry_or_new(&self) -> &'static Entry<T> {
        loop {
            let newest = self.newest.load(Ordering::Acquire);
            if let Some(entry) = self.entry() {
                return entry;
            }
            // Before a value is made, so that no child takes one that is half made for its own.
            watch();
            let entry = Box::leak(Box::new(Entry {
                process: Process::this(),
                value: OnceLock::new(),
            }));
            // A parent's entry is leaked. Release pairs with the Acquire in `entry`.
            let put =
                self.newest
                    .compare_exchange(newest, entry, Ordering::Release, Ordering::Relaxed);
            if put.is_err() {
                // SAFETY: leaked above, and not shared.
                drop(unsafe { Box::from_raw(entry) });
            }
        }
    }
}

impl<T: Send + Sync + 'static> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for PerProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PerProcess")
    }
}

#[cfg(all(test, not(any(fourway_shuttle, fourway_loom))))]
mod tests {
    use std::{
        sync::{Arc, Barrier},
        thread,
    };

    use super::*;

    #[test]
    fn a_value_is_dropped_in_its_process_and_in_no_other() {
        let value = Arc::new(());
        drop(ForgetInChild::new(value.clone()));
        assert_eq!(Arc::strong_count(&value), 1);
        let inherited = ForgetInChild::of(Process::GONE, value.clone());
        assert!(ForgetInChild::is_inherited(&inherited));
        assert_eq!(format!("{inherited:?}"), "from before a fork");
        drop(inherited);
        assert_eq!(Arc::strong_count(&value), 2);
    }

    #[test]
    fn of_many_who_fill_it_one_does() {
        static VALUE: PerProcess<usize> = PerProcess::new();
        assert_eq!(VALUE.get(), None);
        let barrier = Barrier::new(4);
        let values = thread::scope(|scope| {
            let threads = [0, 1, 2, 3].map(|number| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    *VALUE.get_or_init(|| number)
                })
            });
            threads.map(|thread| thread.join().unwrap())
        });
        assert!(values.iter().all(|value| Some(value) == VALUE.get()));
        assert_eq!(VALUE.set(7), Err(7));
    }

    #[test]
    fn a_parents_value_is_not_there() {
        static VALUE: PerProcess<u32> = PerProcess::new();
        VALUE.newest.store(
            Box::leak(Box::new(Entry {
                process: Process::GONE,
                value: OnceLock::from(1),
            })),
            Ordering::Release,
        );
        assert_eq!(VALUE.get(), None);
        assert_eq!(VALUE.set(2), Ok(()));
        assert_eq!(VALUE.get(), Some(&2));
    }
}
