//! An output without its type and, where it is small, without a box: [`SmallOutput`].

#![allow(
    unsafe_code,
    reason = "a spawn without types would take one allocation more: a box for the output"
)]

use std::{
    any::{Any, TypeId},
    marker::PhantomData,
    mem::{MaybeUninit, align_of, size_of},
    ptr,
};

use super::{
    pairs::in_pairs,
    small::{DropValue, drop_value},
};

/// An output without its type. 32 bytes, because it is moved a few times on its way.
///
/// The output is in place if it takes at most three words, and in a box otherwise.
// Not a `Small`: one comparison tells the type of an output, where two calls through pointers would
// ask a trait object for it.
#[repr(C)]
pub(crate) struct SmallOutput {
    /// Of the type of the value in the space, or [`TAKEN`].
    table: &'static Table,
    space: MaybeUninit<[usize; 3]>,
    owns: PhantomData<Box<dyn Any + Send>>,
}

/// What is to be known of the type of the value in a space.
struct Table {
    type_id: fn() -> TypeId,
    drop: DropValue,
}

/// Of an empty space.
const TAKEN: &Table = &Table {
    type_id: TypeId::of::<Taken>,
    drop: None,
};

struct Taken;

impl SmallOutput {
    pub(super) fn new<T: Send + 'static>(output: T) -> Self {
        if fits::<T>() {
            Self::of(output)
        } else {
            Self::of(Box::new(output))
        }
    }

    /// Takes the output, which is a `T`.
    ///
    /// # Panics
    ///
    /// If it is not, or was taken before.
    // Through a reference, because each copy takes time and, without optimization, stack.
    pub(super) fn take<T: Send + 'static>(&mut self) -> T {
        if fits::<T>() {
            self.take_value()
        } else {
            *self.take_value::<Box<T>>()
        }
    }

    #[inline]
    fn of<V: Send + 'static>(value: V) -> Self {
        assert!(fits::<V>(), "asked for before");
        let mut space = MaybeUninit::<[usize; 3]>::uninit();
        // SAFETY: the space is as large as a `V`, and as aligned, as was just asserted; it is ours,
        // and nothing is in it.
        unsafe { space.as_mut_ptr().cast::<V>().write(value) };
        let output = Self {
            table: Table::of::<V>(),
            space,
            owns: PhantomData,
        };
        // The runtime moves it to its task's memory.
        // SAFETY: the table comes first, and the value next; what follows is not in use.
        unsafe { in_pairs(output, size_of::<&Table>() + size_of::<V>()) }
    }

    #[inline]
    fn take_value<V: Send + 'static>(&mut self) -> V {
        let table = std::mem::replace(&mut self.table, TAKEN);
        if !table.is_of::<V>() {
            self.table = table;
            panic!("an output is of another type than the handle says");
        }
        // SAFETY: the table was that of a `V`, so that `of` has put one into the space. It has not
        // been taken, and will not be again, nor dropped, because the table is `TAKEN` now.
        unsafe { self.space.as_ptr().cast::<V>().read() }
    }
}

const fn fits<V>() -> bool {
    size_of::<V>() <= size_of::<[usize; 3]>() && align_of::<V>() <= align_of::<usize>()
}

impl Drop for SmallOutput {
    #[inline]
    fn drop(&mut self) {
        if let Some(drop) = self.table.drop {
            // SAFETY: the table is that of the value in the space, which has not been taken: its
            // table has no `drop`. This is the last access.
            unsafe { drop(self.space.as_mut_ptr().cast()) };
        }
    }
}

impl Table {
    #[inline]
    fn of<V: 'static>() -> &'static Self {
        const {
            &Self {
                type_id: TypeId::of::<V>,
                drop: drop_value::<V>(),
            }
        }
    }

    #[inline]
    fn is_of<V: 'static>(&'static self) -> bool {
        // Nearly always the very same table, which spares the call. There may be several of one
        // type, but none of two types, whose functions differ.
        ptr::eq(self, Self::of::<V>()) || (self.type_id)() == TypeId::of::<V>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn through<T: Send + 'static>(output: T) -> T {
        SmallOutput::new(output).take()
    }

    #[test]
    fn outputs_of_any_size_and_alignment_come_out_as_they_went_in() {
        #[derive(Debug, PartialEq)]
        #[repr(align(64))]
        struct Aligned(u8);

        assert_eq!(through(7_u64), 7);
        assert_eq!(through([7_u64; 3]), [7; 3]);
        assert_eq!(through([7_u64; 4]), [7; 4]);
        assert_eq!(through([7_u64; 20]), [7; 20]);
        assert_eq!(through(Aligned(7)), Aligned(7));
        assert_eq!(through("text".to_string()), "text");
        through(());
    }

    #[test]
    fn an_output_is_dropped_once() {
        fn check<T: Send + 'static>(padded: impl Fn(Arc<()>) -> T) {
            let dropped = Arc::new(());
            let made = || SmallOutput::new(padded(dropped.clone()));
            let moved = std::iter::once(made()).collect::<Vec<_>>();
            assert_eq!(Arc::strong_count(&dropped), 2);
            drop(moved);
            assert_eq!(Arc::strong_count(&dropped), 1);
            let mut output = made();
            let taken = output.take::<T>();
            drop(output);
            assert_eq!(Arc::strong_count(&dropped), 2);
            drop(taken);
            assert_eq!(Arc::strong_count(&dropped), 1);
        }
        check(|it| it);
        check(|it| (it, [0_usize; 2]));
        check(|it| (it, [0_usize; 20]));
    }

    #[test]
    fn a_string_is_in_place() {
        assert!(fits::<String>() && fits::<Vec<u8>>() && fits::<[usize; 3]>());
        assert!(!fits::<[usize; 4]>() && !fits::<u128>());
        assert_eq!(size_of::<SmallOutput>(), 4 * size_of::<usize>());
    }

    #[test]
    fn an_output_of_another_type_is_refused_and_dropped() {
        let dropped = Arc::new(());
        let mut output = SmallOutput::new(dropped.clone());
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            output.take::<u64>();
        }));
        assert!(refused.is_err());
        drop(output);
        assert_eq!(Arc::strong_count(&dropped), 1);
    }

    #[test]
    #[should_panic(expected = "an output is of another type than the handle says")]
    fn an_output_is_taken_once() {
        let mut output = SmallOutput::new(7_u64);
        assert_eq!(output.take::<u64>(), 7);
        output.take::<u64>();
    }
}
