//! The allocator of the benches: the system's, and a count of the bytes in use, in
//! those child processes that ask for it.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Where time is measured, nothing is counted: one look at this is all that is added.
static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicUsize = AtomicUsize::new(0);

/// Begins to count.
pub(crate) fn count() {
    COUNTS.store(true, Ordering::Relaxed);
}

/// The bytes that are in use, of those that were allocated since the count began;
/// less those of before that were freed since, so that only differences mean
/// something.
pub(crate) fn heap() -> usize {
    let allocated = ALLOCATED.load(Ordering::Relaxed);
    allocated.wrapping_sub(FREED.load(Ordering::Relaxed))
}

// SAFETY: all calls go to the system's allocator unchanged; the counters are atomics
// and allocate nothing.
#[allow(unsafe_code, reason = "an allocator cannot be had without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Ordering::Relaxed) {
            ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if COUNTS.load(Ordering::Relaxed) {
            FREED.fetch_add(layout.size(), Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
