//! The allocator of the benches: the system's, with a count of the bytes in use in child processes
//! that turn it on.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Off where time is measured: the only added cost is one load of this flag.
static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicUsize = AtomicUsize::new(0);

/// Begins to count.
pub(crate) fn count() {
    COUNTS.store(true, Ordering::Relaxed);
}

/// The bytes allocated minus the bytes freed since the count began. Frees of earlier allocations
/// count as well, so only differences are meaningful.
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
