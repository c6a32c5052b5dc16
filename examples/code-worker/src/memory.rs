//! The memory of an engine: [`Memory`] counts, and [`Limited`] is the engine's allocator.
//!
//! The engine has its own limit, but does not report a refused allocation: it throws an error, or
//! `null` if there is no memory for the error, and code may throw the same. So the limit is here,
//! with a flag.
//!
//! An allocation is refused as well if the code must stop: the engine checks this only once in ten
//! thousand instructions, and each instruction may call a function that takes milliseconds. Most of
//! these functions allocate.
//!
//! The engine's parser does not notice that its buffer of byte code could not grow, and the compiler
//! then reads what was never written: the process crashes. Code may compile at any time, by `eval`. So
//! a small block that has no room ends the execution, as does a large one that cannot grow: the stack is
//! taken away, which the parser checks at each token. There may be no further token. So small blocks,
//! and those that grow, come from a reserve meanwhile, also if the code must stop for another reason.
//! The reserve is enough: behind the last token each of the parser's buffers grows at most once, by half
//! of itself (`dbuf_claim` and `js_resize_array` in the engine; only small ones grow more often), and
//! together they are part of what is used. That a block is one of these buffers cannot be seen here; so
//! an array that has no room may grow once more, too, before its execution ends.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rquickjs::allocator::{Allocator, RustAllocator};

/// The used memory of an engine, and its limit.
///
/// One thread at a time uses an engine, and hands it on with a lock. So no access here orders
/// another, and the counters use separate loads and stores: an atomic add costs as much as the rest
/// of a small allocation, and an evaluation has dozens.
pub(crate) struct Memory {
    used: AtomicUsize,
    limit: AtomicUsize,
    // What `limit_to` has set; `limit` may be above it for an execution.
    usual: AtomicUsize,
    refused: AtomicBool,
    // The number of allocations so far.
    count: AtomicUsize,
    is_stopped: OnceLock<Box<IsStopped>>,
    // A small block had no room, or a large one could not grow.
    over: AtomicBool,
    end: OnceLock<Box<End>>,
    // What the end of the code has taken from the reserve: new blocks, and those that grew; and how
    // much these may.
    new: AtomicUsize,
    grown: AtomicUsize,
    may_grow: AtomicUsize,
    // The addresses of those that grew and are not small, of earlier executions as well.
    have_grown: Mutex<Vec<usize>>,
}

type IsStopped = dyn Fn() -> bool + Send + Sync;
type End = dyn Fn() + Send + Sync;

/// One in this many allocations checks whether the code must stop; so does each allocation of at
/// least this size, which takes longer than the check.
const ASKS: usize = 64;
const LARGE: usize = 16 * 1024;

/// What small blocks may have beyond the limit, and how large each may be.
const RESERVE: usize = 4 * 1024 * 1024;
const RESERVE_EACH: usize = 256 * 1024;

/// What new small blocks may have in all while the code ends. Blocks that grow may have half of what is
/// used, and a block that grows by more than `GROWS_ONCE` may do so once for as long as it exists: an array
/// that is kept would grow by half of itself at the end of each execution. The parser's buffers do not
/// outlive it, and it writes far less than that behind the last token, for a few hundred operators, arrows
/// and the like that the stack has room for.
const RESERVE_OF_ENDS: usize = 512 * 1024;
const GROWS_ONCE: usize = 64 * 1024;

/// The engine's errors and their parts are smaller.
const PART_OF_ERROR: usize = 512;

/// How far beyond the limit an execution may begin.
const BEYOND: usize = 8 * 1024 * 1024;

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("used", &self.used)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Memory {
    /// Without a limit yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit: AtomicUsize::new(usize::MAX),
            usual: AtomicUsize::new(usize::MAX),
            refused: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            is_stopped: OnceLock::new(),
            over: AtomicBool::new(false),
            end: OnceLock::new(),
            new: AtomicUsize::new(0),
            grown: AtomicUsize::new(0),
            may_grow: AtomicUsize::new(0),
            have_grown: Mutex::default(),
        })
    }

    /// In bytes.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Allows this many bytes beyond those used now.
    pub(crate) fn limit_to(&self, more: usize) {
        let limit = self.used().saturating_add(more);
        self.limit.store(limit, Ordering::Relaxed);
        self.usual.store(limit, Ordering::Relaxed);
    }

    /// Sees to it that this many bytes are free, if need be beyond the limit, but not far beyond.
    /// `false` if they are not.
    ///
    /// The engine's compiler does not survive a refused allocation at each place. So compiling must not
    /// begin in full memory, which code may leave behind.
    #[must_use]
    pub(crate) fn make_room(&self, bytes: usize) -> bool {
        let usual = self.usual.load(Ordering::Relaxed);
        let wanted = self.used().saturating_add(bytes);
        let most = usual.saturating_add(BEYOND);
        // What grew at the end of an earlier execution may still exist, and code must be able to
        // delete it.
        let left = self.used().saturating_sub(usual);
        let most = most.saturating_add(left.min(most / 2 + RESERVE));
        self.limit
            .store(usual.max(wanted.min(most)), Ordering::Relaxed);
        self.has_ended();
        wanted <= most
    }

    /// From here on, allocations are refused while `is_stopped` is true. It is called within the
    /// engine, and must not use the engine.
    pub(crate) fn refuse_if(&self, is_stopped: impl Fn() -> bool + Send + Sync + 'static) {
        // Set once, by the maker.
        let _ = self.is_stopped.set(Box::new(is_stopped));
    }

    /// `end` ends the engine's parser. It is called within the engine, and must not use the memory.
    pub(crate) fn end_with(&self, end: impl Fn() + Send + Sync + 'static) {
        // Set once, by the maker.
        let _ = self.end.set(Box::new(end));
    }

    fn end(&self) {
        if let Some(end) = self.end.get() {
            end();
        }
    }

    /// Must the execution end, as there is no memory for small blocks?
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The execution has ended; had it to?
    pub(crate) fn take_over(&self) -> bool {
        self.has_ended();
        self.is_over() && self.over.swap(false, Ordering::Relaxed)
    }

    fn is_stopped(&self, more: usize) -> bool {
        let count = self.count.load(Ordering::Relaxed).wrapping_add(1);
        self.count.store(count, Ordering::Relaxed);
        (self.is_ending() || more >= LARGE || count.is_multiple_of(ASKS))
            && self.is_stopped.get().is_some_and(|is_stopped| is_stopped())
    }

    /// Was an allocation refused because of the limit since the last call?
    pub(crate) fn take_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed) && self.refused.swap(false, Ordering::Relaxed)
    }

    /// May a new block, or one that grows, have so much more?
    fn admits(&self, more: usize, grows: Option<*mut u8>) -> bool {
        if self.is_stopped(more) {
            self.end();
            return self.grants(more, grows);
        }
        if self.has_room(more, 0) {
            return true;
        }
        self.refused.store(true, Ordering::Relaxed);
        let is_small = more <= RESERVE_EACH;
        // A large block may be of anything, such as a text; code can catch its error.
        // Once: what cleans up after the execution has the stack again, and may be short of memory, too.
        if (is_small || grows.is_some()) && !self.is_over() {
            self.over.store(true, Ordering::Relaxed);
            self.end();
        }
        (is_small && self.has_room(more, RESERVE)) || (grows.is_some() && self.grants(more, grows))
    }

    /// May the end of the code have this? All of it counts, also what is freed meanwhile: functions of
    /// the engine that take long must end soon, and most of them allocate.
    fn grants(&self, more: usize, grows: Option<*mut u8>) -> bool {
        if !self.is_ending() {
            let may_grow = self.used() / 2 + RESERVE_EACH;
            self.may_grow.store(may_grow, Ordering::Relaxed);
        }
        let count = |counter: &AtomicUsize| {
            let sum = counter.load(Ordering::Relaxed).saturating_add(more.max(1));
            counter.store(sum, Ordering::Relaxed);
            sum
        };
        // Beyond the reserve as for other code, one of some small blocks is refused. The error that code
        // cannot catch needs memory, too: without it, a loop would catch whatever comes in its place.
        // Larger ones stay near the limit: code that catches the refusals goes on until the engine checks.
        let is_next = self.count.load(Ordering::Relaxed).is_multiple_of(ASKS);
        let is_small =
            more < LARGE && !is_next && (more <= PART_OF_ERROR || self.has_room(more, RESERVE));
        match grows {
            Some(block) if more > GROWS_ONCE && self.have_grown().contains(&block.addr()) => false,
            // What is refused does not count.
            Some(_) => {
                let left = self.may_grow.load(Ordering::Relaxed);
                let left = left.saturating_sub(self.grown.load(Ordering::Relaxed));
                (more <= left || is_small) && count(&self.grown) > 0
            }
            // Large new blocks are of functions, and not of the parser.
            None => more < LARGE && (count(&self.new) <= RESERVE_OF_ENDS || is_small),
        }
    }

    /// A block has grown by so much.
    fn has_grown(&self, block: *mut u8, more: usize) {
        if more > GROWS_ONCE && self.is_ending() {
            self.have_grown().push(block.addr());
        }
    }

    /// A block of this size is freed, or moved.
    fn is_gone(&self, block: *mut u8, size: usize) {
        if size > GROWS_ONCE {
            self.have_grown().retain(|grown| *grown != block.addr());
        }
    }

    fn have_grown(&self) -> MutexGuard<'_, Vec<usize>> {
        self.have_grown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ending(&self) -> bool {
        self.new.load(Ordering::Relaxed) > 0 || self.grown.load(Ordering::Relaxed) > 0
    }

    /// The next code has the whole reserve.
    fn has_ended(&self) {
        self.new.store(0, Ordering::Relaxed);
        self.grown.store(0, Ordering::Relaxed);
    }

    fn has_room(&self, more: usize, beyond: usize) -> bool {
        let limit = self.limit.load(Ordering::Relaxed).saturating_add(beyond);
        self.used().checked_add(more).is_some_and(|sum| sum <= limit)
            // Later computations use it, and may get somewhat larger.
            && more < isize::MAX as usize / 2
    }

    fn add(&self, size: usize) {
        self.used
            .store(self.used().wrapping_add(size), Ordering::Relaxed);
    }

    fn subtract(&self, size: usize) {
        self.used
            .store(self.used().wrapping_sub(size), Ordering::Relaxed);
    }
}

/// Rust's allocator, up to the limit.
pub(crate) struct Limited(pub(crate) Arc<Memory>);

#[allow(
    unsafe_code,
    reason = "the bindings' interface for allocators is unsafe to implement and to call"
)]
mod implementation {
    use super::{Allocator, Limited, RustAllocator};

    /// The size of the allocation at `pointer`, or 0 if it is null.
    ///
    /// # Safety
    ///
    /// It is null, or from `RustAllocator` and not freed.
    unsafe fn size(pointer: *mut u8) -> usize {
        if pointer.is_null() {
            return 0;
        }
        // SAFETY: the caller's promise, and it is not null.
        unsafe { RustAllocator::usable_size(pointer) }
    }

    // SAFETY: each function gives null, or the result of the same function of `RustAllocator` for
    // the same request; so pointers that come back are always its own.
    unsafe impl Allocator for Limited {
        fn alloc(&mut self, wanted: usize) -> *mut u8 {
            if !self.0.admits(wanted, None) {
                return std::ptr::null_mut();
            }
            let pointer = RustAllocator.alloc(wanted);
            // SAFETY: it was made in the line above.
            self.0.add(unsafe { size(pointer) });
            pointer
        }

        fn calloc(&mut self, count: usize, each: usize) -> *mut u8 {
            // `RustAllocator` would panic if the product overflowed, across the engine's frames.
            if !self.0.admits(count.saturating_mul(each), None) {
                return std::ptr::null_mut();
            }
            let pointer = RustAllocator.calloc(count, each);
            // SAFETY: as above.
            self.0.add(unsafe { size(pointer) });
            pointer
        }

        unsafe fn dealloc(&mut self, pointer: *mut u8) {
            // SAFETY: the caller promises that it is ours, so `RustAllocator`'s, and gives it up;
            // its size is read before it is freed.
            unsafe {
                let size = size(pointer);
                self.0.subtract(size);
                self.0.is_gone(pointer, size);
                RustAllocator.dealloc(pointer);
            }
        }

        unsafe fn realloc(&mut self, pointer: *mut u8, wanted: usize) -> *mut u8 {
            if pointer.is_null() {
                // As in C; `RustAllocator` would read in front of the pointer.
                return self.alloc(wanted);
            }
            // SAFETY: the caller promises that it is ours, and not freed.
            let before = unsafe { size(pointer) };
            let more = wanted.saturating_sub(before);
            if more > 0 && !self.0.admits(more, Some(pointer)) {
                return std::ptr::null_mut();
            }
            // SAFETY: the same promise. If it gives null, the old block still exists and still
            // counts; otherwise the old block is gone, and the new one counts in its place.
            unsafe {
                let new = RustAllocator.realloc(pointer, wanted);
                if !new.is_null() {
                    self.0.subtract(before);
                    self.0.add(size(new));
                    self.0.is_gone(pointer, before);
                    self.0.has_grown(new, more);
                }
                new
            }
        }

        unsafe fn usable_size(pointer: *mut u8) -> usize {
            // SAFETY: the caller's promise is the required one.
            unsafe { size(pointer) }
        }
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "to use an allocator is unsafe")]
mod tests {
    use super::{Allocator, Limited, Memory};

    #[test]
    fn what_is_stopped_has_no_more_memory() {
        use std::sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        };
        let memory = Memory::new();
        let mut allocator = Limited(memory.clone());
        let stopped = Arc::new(AtomicBool::new(false));
        let asked = stopped.clone();
        memory.refuse_if(move || asked.load(Ordering::Relaxed));
        let first = allocator.alloc(super::LARGE);
        assert!(!first.is_null());
        stopped.store(true, Ordering::Relaxed);
        assert!(allocator.alloc(super::LARGE).is_null());
        // Small ones have a reserve, for the engine's parser.
        let mut small = Vec::new();
        while small.last().is_none_or(|last: &*mut u8| !last.is_null()) {
            assert!(small.len() < super::RESERVE_OF_ENDS);
            small.push(allocator.alloc(1024));
        }
        assert!(small.len() > super::ASKS);
        // This refusal is not because of the limit.
        assert!(!memory.take_refused());
        // SAFETY: all are from this allocator, and freed once.
        unsafe {
            for pointer in small.into_iter().filter(|pointer| !pointer.is_null()) {
                allocator.dealloc(pointer);
            }
            allocator.dealloc(first);
        }
        assert_eq!(memory.used(), 0);
    }

    /// Code that catches the refusals may go on for thousands of allocations.
    #[test]
    fn what_is_stopped_stays_near_its_limit() {
        let memory = Memory::new();
        memory.limit_to(super::RESERVE);
        memory.refuse_if(|| true);
        let mut allocator = Limited(memory.clone());
        let blocks: Vec<_> = (0..10_000)
            .map(|_| allocator.alloc(super::LARGE - 1))
            .filter(|block| !block.is_null())
            .collect();
        assert!(memory.used() <= 2 * super::RESERVE + super::RESERVE_OF_ENDS);
        // An error still has room.
        let parts: Vec<_> = (0..2)
            .map(|_| allocator.alloc(100))
            .filter(|part| !part.is_null())
            .collect();
        assert!(!parts.is_empty());
        for block in blocks.into_iter().chain(parts) {
            // SAFETY: all are from this allocator, and freed once.
            unsafe { allocator.dealloc(block) };
        }
        assert_eq!(memory.used(), 0);
    }

    /// As an array that is kept: the next execution could not delete it any more.
    #[test]
    fn a_block_grows_beyond_the_limit_once() {
        let memory = Memory::new();
        memory.limit_to(8 * super::GROWS_ONCE);
        let mut allocator = Limited(memory.clone());
        let block = allocator.alloc(8 * super::GROWS_ONCE);
        // SAFETY: each block is from this allocator and not freed; a failed call leaves it alone.
        unsafe {
            // By more than a small block.
            let large = allocator.realloc(block, memory.used() + 2 * super::RESERVE_EACH);
            assert!(!large.is_null() && memory.take_over());
            for _ in 0..3 {
                assert!(memory.make_room(0));
                let more = memory.used() + 2 * super::RESERVE_EACH;
                assert!(allocator.realloc(large, more).is_null());
                assert!(memory.take_over());
            }
            allocator.dealloc(large);
        }
        assert_eq!(memory.used(), 0);
    }

    /// Who cleans up after it is not ended in turn, for want of the same memory.
    #[test]
    fn an_execution_is_ended_once() {
        use std::sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        };
        let memory = Memory::new();
        memory.limit_to(0);
        let mut allocator = Limited(memory.clone());
        let ends = Arc::new(AtomicUsize::new(0));
        let counted = ends.clone();
        memory.end_with(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        for executions in 1..=2 {
            for _ in 0..3 {
                let small = allocator.alloc(10);
                assert!(!small.is_null() && memory.is_over());
                assert_eq!(ends.load(Ordering::Relaxed), executions);
                // SAFETY: it is from this allocator, and freed once.
                unsafe { allocator.dealloc(small) };
            }
            assert!(memory.take_over());
        }
    }

    #[test]
    fn what_is_freed_may_be_had_again_and_what_is_refused_is_told() {
        let memory = Memory::new();
        memory.limit_to(1024);
        let mut allocator = Limited(memory.clone());
        let first = allocator.alloc(1000);
        let large = 1000 + 2 * super::RESERVE;
        assert!(!first.is_null() && memory.used() >= 1000);
        assert!(allocator.calloc(10, large).is_null());
        assert!(allocator.calloc(usize::MAX, usize::MAX).is_null());
        assert!(memory.take_refused());
        assert!(!memory.take_refused());
        // SAFETY: `first` is from this allocator; a failed call has left it alone, a successful one
        // has replaced it, and the last block is freed once.
        unsafe {
            assert!(!memory.is_over());
            // Too much at a time; and a little, from the reserve.
            assert!(allocator.realloc(first, large).is_null());
            assert!(memory.take_refused() && memory.take_over());
            let larger = allocator.realloc(first, 2000);
            assert!(!larger.is_null() && memory.take_over());
            let small = allocator.alloc(10);
            assert!(!small.is_null() && memory.take_over());
            allocator.dealloc(small);
            assert!(allocator.alloc(large).is_null() && !memory.is_over());
            let smaller = allocator.realloc(larger, 10);
            assert!(memory.used() < 100 && !memory.is_over());
            allocator.dealloc(smaller);
        }
        assert_eq!(memory.used(), 0);
        assert!(memory.take_refused());
    }
}
