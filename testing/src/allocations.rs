//! An allocator that counts: [`Counting`].

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The system's allocator, with counters. To be a test's `#[global_allocator]`.
///
/// Allocations of other tests of the program count as well: such a test is the only one in its
/// file.
#[derive(Debug)]
pub struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

static IN_USE: AtomicUsize = AtomicUsize::new(0);

impl Counting {
    /// How often the calling thread has allocated.
    #[must_use]
    pub fn of_this_thread() -> usize {
        COUNT.get()
    }

    /// How many bytes the process has allocated and not freed.
    #[must_use]
    pub fn in_use() -> usize {
        IN_USE.load(Ordering::Relaxed)
    }
}

// SAFETY: all calls go to the system's allocator unchanged; the counters are an atomic and a
// thread-local without a destructor, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
