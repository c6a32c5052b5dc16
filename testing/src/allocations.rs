//! An allocator that counts, [`Counting`], and work that allocates nothing by itself.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
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

static ALL: AtomicUsize = AtomicUsize::new(0);
static IN_USE: AtomicUsize = AtomicUsize::new(0);

impl Counting {
    /// How often the calling thread has allocated.
    #[must_use]
    pub fn of_this_thread() -> usize {
        COUNT.get()
    }

    /// How often all threads have allocated.
    #[must_use]
    pub fn of_all_threads() -> usize {
        ALL.load(Ordering::SeqCst)
    }

    /// How many bytes the process has allocated and not freed.
    #[must_use]
    pub fn in_use() -> usize {
        IN_USE.load(Ordering::Relaxed)
    }
}

// SAFETY: all calls go to the system's allocator unchanged; the counters are atomics and a
// thread-local without a destructor, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        ALL.fetch_add(1, Ordering::SeqCst);
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

/// Drives a future on this thread with a waker made once, and no allocation.
pub fn drive<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.wake_by_ref();
        }
        fn wake_by_ref(self: &Arc<Self>) {
            self.0.unpark();
        }
    }
    thread_local! {
        static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
    }
    let mut future = pin!(future);
    WAKER.with(|waker| {
        let mut cx = Context::from_waker(waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            thread::park();
        }
    })
}

/// Suspends itself once, for the task to be queued again.
pub fn suspend_once() -> impl Future<Output = ()> {
    let first = Cell::new(true);
    poll_fn(move |cx| {
        if first.replace(false) {
            cx.waker().wake_by_ref();
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
}

/// How often all threads allocate in `rounds` rounds, in the best of some tries: in the first a
/// thread may yet be setting itself up, and queues grow by a block now and then.
pub fn least(rounds: usize, mut round: impl FnMut()) -> usize {
    (0..8)
        .map(|_| {
            let before = Counting::of_all_threads();
            (0..rounds).for_each(|_| round());
            Counting::of_all_threads() - before
        })
        .min()
        .expect("some tries")
}
