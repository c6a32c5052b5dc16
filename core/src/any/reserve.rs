//! The memory of spawned futures: [`Block`], of which each thread keeps some.

#![allow(
    unsafe_code,
    reason = "see `spawned`: memory that holds a future and then its output, and is used again"
)]

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    cell::Cell,
    mem::{MaybeUninit, align_of, size_of},
    ptr::NonNull,
};

/// How many words of a block are free for the value.
// As many as most futures that are spawned need. A line of the cache for each task counts where
// thousands are outstanding.
const WORDS: usize = 7;

/// How many blocks a thread keeps at most: 256 KiB. It keeps those that it gives back, which others may
/// have taken.
// So that tasks by the thousand, which are spawned and then joined, need no allocation either: an
// allocator is slow at many small pieces between larger ones. With 128, a thousand tasks took 172 ns
// each on the std-thread runtime, and 121 with these.
const KEPT: usize = 4096;

/// 64 bytes, where a word has 8: one word that says what is there, and the value.
#[repr(C, align(16))]
pub(super) struct Block {
    /// Says what is done with the value, as its owner wants it. In the reserve: the next block, if
    /// there is one.
    head: MaybeUninit<*const ()>,
    space: Space,
}

/// Aligned for the numbers of a `TypeId` too, which are of 64 bits also where a word is not.
#[repr(C, align(8))]
struct Space(MaybeUninit<[usize; WORDS]>);

impl Block {
    /// Is there room for a `T`?
    pub(super) const fn fits<T>() -> bool {
        size_of::<T>() <= size_of::<[usize; WORDS]>() && align_of::<T>() <= align_of::<Space>()
    }

    /// The place of the word that says what is there.
    ///
    /// # Safety
    ///
    /// `block` is from [`take`].
    #[inline]
    pub(super) unsafe fn head(block: NonNull<Self>) -> *mut *const () {
        // SAFETY: the block is there, and no reference is made to it.
        unsafe { (&raw mut (*block.as_ptr()).head).cast() }
    }

    /// The place of the value, which has room for each type that [fits](Self::fits).
    ///
    /// # Safety
    ///
    /// As for [`head`](Self::head).
    #[inline]
    pub(super) unsafe fn space(block: NonNull<Self>) -> *mut () {
        // SAFETY: as above.
        unsafe { (&raw mut (*block.as_ptr()).space).cast() }
    }
}

/// A block with nothing in it, to be given back with [`give`]: one that the thread has kept, or a
/// new one.
#[inline]
pub(super) fn take() -> NonNull<Block> {
    // Fails in a thread that ends, of which the reserve has been destroyed.
    let kept = RESERVE.try_with(Reserve::take);
    kept.ok().flatten().unwrap_or_else(allocate)
}

/// Gives a block back, to the reserve of the calling thread.
///
/// # Safety
///
/// `block` is from [`take`] and is not used again. Any thread may give it back.
#[inline]
pub(super) unsafe fn give(block: NonNull<Block>) {
    // SAFETY: promised by the caller.
    let kept = RESERVE.try_with(|reserve| unsafe { reserve.keep(block) });
    if !kept.unwrap_or(false) {
        // SAFETY: promised by the caller; and it has not been kept.
        unsafe { free(block) };
    }
}

#[cold]
fn allocate() -> NonNull<Block> {
    let layout = Layout::new::<Block>();
    // SAFETY: a block has a size.
    let block = unsafe { alloc(layout) };
    NonNull::new(block.cast()).unwrap_or_else(|| handle_alloc_error(layout))
}

/// # Safety
///
/// `block` is from [`allocate`], and is not used again.
#[cold]
unsafe fn free(block: NonNull<Block>) {
    // SAFETY: promised by the caller; and the layout is that of `allocate`.
    unsafe { dealloc(block.as_ptr().cast(), Layout::new::<Block>()) };
}

std::thread_local! {
    // The standard library's under the model checkers as well: nothing here is seen by two threads.
    static RESERVE: Reserve = const {
        Reserve {
            first: Cell::new(None),
            length: Cell::new(0),
        }
    };
}

/// The blocks that a thread keeps, each of which is ours alone and points to the next one.
// An allocator keeps freed memory for its thread as well. This takes a third of the instructions, as
// all blocks are alike, and makes a spawn take no allocation more than a native one.
struct Reserve {
    first: Cell<Option<NonNull<Block>>>,
    length: Cell<usize>,
}

impl Reserve {
    #[inline]
    fn take(&self) -> Option<NonNull<Block>> {
        let block = self.first.get()?;
        // SAFETY: `keep` has stored the next block in the head, and nothing has used the block since.
        let next = unsafe { *Block::head(block) };
        self.first.set(NonNull::new(next.cast_mut().cast()));
        self.length.set(self.length.get() - 1);
        Some(block)
    }

    /// `false`: there are enough, and the block is still the caller's.
    ///
    /// # Safety
    ///
    /// `block` is from [`allocate`]. It is not used again if this is `true`.
    #[inline]
    unsafe fn keep(&self, block: NonNull<Block>) -> bool {
        let length = self.length.get();
        if length >= KEPT {
            return false;
        }
        let next = self
            .first
            .get()
            .map_or(std::ptr::null_mut(), NonNull::as_ptr);
        // SAFETY: the block is there, and is ours.
        unsafe { *Block::head(block) = next.cast_const().cast() };
        self.first.set(Some(block));
        self.length.set(length + 1);
        true
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        while let Some(block) = self.take() {
            // SAFETY: it was kept, so that it is from `allocate`, and has just been taken out.
            unsafe { free(block) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_used_again() {
        // On a thread of its own, whose reserve is empty.
        let thread = std::thread::spawn(|| {
            let (first, second) = (take(), take());
            assert_ne!(first, second);
            // SAFETY: from `take`, and not used again.
            unsafe { give(first) };
            // SAFETY: as above.
            unsafe { give(second) };
            assert_eq!((take(), take()), (second, first));
            // SAFETY: as above.
            unsafe { give(first) };
            // SAFETY: as above.
            unsafe { give(second) };
        });
        thread.join().unwrap();
    }

    #[test]
    fn a_thread_keeps_a_few_blocks() {
        let thread = std::thread::spawn(|| {
            let blocks: Vec<_> = (0..KEPT + 3).map(|_| take()).collect();
            for block in blocks {
                // SAFETY: from `take`, and not used again.
                unsafe { give(block) };
            }
            RESERVE.with(|reserve| assert_eq!(reserve.length.get(), KEPT));
        });
        thread.join().unwrap();
    }

    #[test]
    fn a_thread_that_ends_takes_and_gives_blocks() {
        struct AtTheEnd;

        impl Drop for AtTheEnd {
            fn drop(&mut self) {
                let block = take();
                // SAFETY: from `take`, and not used again.
                unsafe { give(block) };
            }
        }

        std::thread_local! {
            static AT_THE_END: AtTheEnd = const { AtTheEnd };
        }

        let thread = std::thread::spawn(|| {
            // Destroyed after the reserve, on systems that destroy the first one last.
            AT_THE_END.with(|_| ());
            let block = take();
            // SAFETY: from `take`, and not used again.
            unsafe { give(block) };
        });
        thread.join().unwrap();
    }
}
