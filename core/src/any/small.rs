//! A value without its type and without a box: [`Small`].

#![allow(
    unsafe_code,
    reason = "a spawn without types would take two allocations more: a box for the future, one for the handle"
)]

use std::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::{MaybeUninit, align_of, needs_drop, size_of},
    ptr,
};

use super::pairs::in_pairs;

/// A value without its type, of which there is a table of functions.
///
/// The value is in place, in `WORDS` words.
#[repr(C)]
pub(crate) struct Small<V: Table, const WORDS: usize> {
    table: &'static V,
    // A cell, because a value may change itself behind `&`, such as a handle with a lock in it.
    space: UnsafeCell<MaybeUninit<[usize; WORDS]>>,
    owns: PhantomData<V::Owns>,
}

/// Functions of a type, each of which takes a pointer to a value of the type.
pub(crate) trait Table: 'static {
    /// What the value is known as, which says whether it is `Send`, `Sync` and `Unpin`.
    type Owns: ?Sized;

    /// Drops the value.
    fn drop(&self) -> DropValue;
}

/// Drops the value that it is given a pointer to, which is not used again. `None`: there is nothing to
/// do.
pub(crate) type DropValue = Option<unsafe fn(*mut ())>;

/// The [`DropValue`] of a type.
pub(super) const fn drop_value<T>() -> DropValue {
    /// # Safety
    ///
    /// `value` points to a `T`, which is not used again.
    unsafe fn drop_value<T>(value: *mut ()) {
        // SAFETY: promised by the caller.
        unsafe { ptr::drop_in_place(value.cast::<T>()) }
    }
    if needs_drop::<T>() {
        Some(drop_value::<T>)
    } else {
        None
    }
}

/// The table of the type `T`.
///
/// # Safety
///
/// The functions in the table are to be called with a pointer to a `T`, and their `drop` drops it.
/// `T` must be `Send` if `Table::Owns` is; and so with `Sync` and `Unpin`.
pub(super) unsafe trait TableOf<T>: Table + Sized {
    const TABLE: &'static Self;
}

// SAFETY: safe code gets shared access only from a shared `Small`, and what the value is known as is
// `Sync`. The cell alone is not `Sync` by itself. Behind `&`, only the value writes to it, which one
// that is `Sync` may do.
unsafe impl<V: Table<Owns: Sync>, const WORDS: usize> Sync for Small<V, WORDS> {}

impl<V: Table, const WORDS: usize> Small<V, WORDS> {
    /// Is there room for a `T` in place?
    pub(super) const fn fits<T>() -> bool {
        size_of::<T>() <= size_of::<[usize; WORDS]>() && align_of::<T>() <= align_of::<usize>()
    }

    /// `value`, which [fits](Self::fits).
    ///
    /// # Panics
    ///
    /// If it does not fit.
    #[inline]
    pub(super) fn new<T>(value: T) -> Self
    where
        V: TableOf<T>,
    {
        assert!(Self::fits::<T>(), "asked for before");
        let mut space = MaybeUninit::<[usize; WORDS]>::uninit();
        // SAFETY: the space is as large as a `T`, and as aligned, as was just asserted; it is
        // ours, and nothing is in it.
        unsafe { space.as_mut_ptr().cast::<T>().write(value) };
        Self {
            table: V::TABLE,
            space: UnsafeCell::new(space),
            owns: PhantomData,
        }
    }

    /// As [`new`](Self::new), stored [in pairs](in_pairs), for a value that is moved at once.
    #[inline]
    pub(super) fn in_pairs<T>(value: T) -> Self
    where
        V: TableOf<T>,
    {
        let small = Self::new(value);
        // SAFETY: the table comes first, and the value next; what follows is not in use.
        unsafe { in_pairs(small, size_of::<&V>() + size_of::<T>()) }
    }

    /// The functions of the value's type, which may be called with [`value`](Self::value).
    #[inline]
    pub(super) fn table(&self) -> &'static V {
        self.table
    }

    /// A pointer to the value, which is there as long as `self`.
    #[inline]
    pub(super) fn value(&self) -> *mut () {
        // To the cell's content, without a reference: `&` would assert that the content does not
        // change, and `&mut` that nothing else points to it. A future may point to itself.
        self.space.get().cast()
    }
}

impl<V: Table, const WORDS: usize> Drop for Small<V, WORDS> {
    #[inline]
    fn drop(&mut self) {
        if let Some(drop) = self.table.drop() {
            // SAFETY: the table belongs to the type of the value in the space, from `new` until
            // now, and this is the last access: `self` is being dropped, and the space drops
            // nothing by itself.
            unsafe { drop(self.value()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[test]
    fn a_value_may_change_behind_a_shared_reference() {
        struct Counts(unsafe fn(*mut ()) -> usize);
        impl Table for Counts {
            type Owns = AtomicUsize;

            fn drop(&self) -> DropValue {
                None
            }
        }
        unsafe fn count(counter: *mut ()) -> usize {
            // SAFETY: promised by the caller.
            unsafe { &*counter.cast::<AtomicUsize>() }.fetch_add(1, Relaxed)
        }
        // SAFETY: it takes an `AtomicUsize`, which `drop` has nothing to do for.
        unsafe impl TableOf<AtomicUsize> for Counts {
            const TABLE: &'static Self = &Self(count);
        }
        let counted = |counter: &Small<Counts, 1>| {
            // SAFETY: of the same `Small`.
            unsafe { (counter.table().0)(counter.value()) }
        };
        let counter: Small<Counts, 1> = Small::new(AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| counted(&counter));
            }
        });
        let moved = counter;
        assert_eq!(counted(&moved), 2);
    }
}
