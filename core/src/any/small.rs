//! A value without its type and, where it is small, without a box: [`Small`].

#![allow(
    unsafe_code,
    reason = "a spawn without types would take two allocations more: a box for the future, one for the handle"
)]

use std::{
    any::Any,
    cell::UnsafeCell,
    future::Future,
    marker::PhantomData,
    mem::{MaybeUninit, align_of, size_of},
    pin::Pin,
    ptr,
    task::{Context, Poll},
};

/// A value that is known as a `D`, such as `dyn Future`.
///
/// The value is in place if it takes at most `WORDS` words, and in a box otherwise.
pub(crate) struct Small<D: ?Sized, const WORDS: usize> {
    // A cell, because a value may change itself behind `&`, such as a handle with a lock in it.
    space: UnsafeCell<MaybeUninit<[usize; WORDS]>>,
    /// Makes a pointer to the space one to the value in it.
    known_as: fn(*mut ()) -> *mut D,
    owns: PhantomData<D>,
}

/// How a pointer to a value of this type becomes one to a `D`.
///
/// # Safety
///
/// `known_as` must return the pointer it was given, with the metadata that makes it a pointer to a
/// `D` that is a `Self`. `Self` must be `Send` if `D` is, and `Sync` if `D` is.
pub(super) unsafe trait KnownAs<D: ?Sized>: Sized {
    fn known_as(this: *mut Self) -> *mut D;
}

// SAFETY: a shared `Small` gives out `&D` and nothing else, and `D` is `Sync`. The cell alone is
// not `Sync` by itself. Behind `&`, only the value writes to it, which a `D` that is `Sync` may do.
unsafe impl<D: ?Sized + Sync, const WORDS: usize> Sync for Small<D, WORDS> {}

impl<D: ?Sized, const WORDS: usize> Small<D, WORDS> {
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
    pub(super) fn new<T: KnownAs<D>>(value: T) -> Self {
        assert!(Self::fits::<T>(), "asked for before");
        let mut space = MaybeUninit::<[usize; WORDS]>::uninit();
        // SAFETY: the space is as large as a `T`, and as aligned, as was just asserted; it is
        // ours, and nothing is in it.
        unsafe { space.as_mut_ptr().cast::<T>().write(value) };
        Self {
            space: UnsafeCell::new(space),
            known_as: |space| T::known_as(space.cast::<T>()),
            owns: PhantomData,
        }
    }

    #[inline]
    fn value(&self) -> *mut D {
        // A pointer to the cell's content, without a reference: `&` would assert that the content
        // does not change, and `&mut` that nothing else points to it. A future may point to itself.
        (self.known_as)(self.space.get().cast())
    }

    #[inline]
    pub(super) fn get(&self) -> &D {
        // SAFETY: `known_as` belongs to the type of the value in the space, from `new` until the
        // drop. It gives a pointer to that value (see `KnownAs`). The value lives as long as
        // `self`, which is borrowed.
        unsafe { &*self.value() }
    }

    #[inline]
    pub(super) fn get_mut(&mut self) -> &mut D {
        // SAFETY: as above; and `self` is borrowed mutably.
        unsafe { &mut *self.value() }
    }
}

impl<D: ?Sized, const WORDS: usize> Small<D, WORDS> {
    #[inline]
    fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut D> {
        // SAFETY: the value is inside `self`, and pinned with it. Nothing here moves the value out,
        // and it is dropped in place. A pinned `Small` can be moved only if it is `Unpin`, and then
        // `D` is `Unpin` too.
        unsafe { Pin::new_unchecked(self.get_unchecked_mut().get_mut()) }
    }
}

impl<D: ?Sized, const WORDS: usize> Drop for Small<D, WORDS> {
    #[inline]
    fn drop(&mut self) {
        let value = self.value();
        // SAFETY: the value is there, as above, and this is the last access: `self` is being
        // dropped, and the space drops nothing by itself.
        unsafe { ptr::drop_in_place(value) };
    }
}

// ---------------------------------------------------------------------------
// Futures

/// A future without its type. 64 bytes.
pub(super) type SmallFuture<T> = Small<dyn Future<Output = T> + Send, 7>;

pub(super) fn future<F>(future: F) -> SmallFuture<F::Output>
where
    F: Future + Send + 'static,
{
    if SmallFuture::<F::Output>::fits::<F>() {
        Small::new(future)
    } else {
        Small::new(Box::pin(future))
    }
}

// SAFETY: the pointer is the given one; and it is as `Send` as the trait object says.
unsafe impl<F: Future + Send + 'static> KnownAs<dyn Future<Output = F::Output> + Send> for F {
    fn known_as(this: *mut Self) -> *mut (dyn Future<Output = F::Output> + Send) {
        this
    }
}

impl<T> Future for SmallFuture<T> {
    type Output = T;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.get_pin_mut().poll(cx)
    }
}

// ---------------------------------------------------------------------------
// Outputs

/// An output without its type. 32 bytes, because it is moved a few times on its way.
pub(crate) type SmallOutput = Small<dyn Any + Send, 3>;

pub(super) fn output<T: Send + 'static>(output: T) -> SmallOutput {
    if SmallOutput::fits::<Given<T>>() {
        Small::new(Given(Some(output)))
    } else {
        Small::new(Given(Some(Box::new(output))))
    }
}

/// The output, which is a `T`.
///
/// # Panics
///
/// If it is not.
pub(super) fn take<T: Send + 'static>(mut output: SmallOutput) -> T {
    const OTHER: &str = "an output of the type that the handle says";
    let any = output.get_mut();
    if SmallOutput::fits::<Given<T>>() {
        let given = any.downcast_mut::<Given<T>>().expect(OTHER);
        given.0.take().expect(OTHER)
    } else {
        let given = any.downcast_mut::<Given<Box<T>>>().expect(OTHER);
        *given.0.take().expect(OTHER)
    }
}

/// An output, until it is taken.
struct Given<T>(Option<T>);

// SAFETY: the pointer is the given one; and it is as `Send` as the trait object says.
unsafe impl<T: Send + 'static> KnownAs<dyn Any + Send> for Given<T> {
    fn known_as(this: *mut Self) -> *mut (dyn Any + Send) {
        this
    }
}

#[cfg(test)]
mod tests {
    use std::{marker::PhantomPinned, pin::pin, sync::Arc, task::Waker};

    use super::*;

    /// Looks at each poll whether it has been moved, if it has been polled before.
    struct Pinned<const N: usize> {
        at: Option<usize>,
        polls: u32,
        _dropped: Arc<()>,
        filler: [u8; N],
        _pinned: PhantomPinned,
    }

    impl<const N: usize> Future for Pinned<N> {
        type Output = usize;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<usize> {
            let here = ptr::from_ref(&*self).addr();
            // SAFETY: nothing is moved out.
            let this = unsafe { self.get_unchecked_mut() };
            assert_eq!(*this.at.get_or_insert(here), here);
            this.polls += 1;
            if this.polls == 3 {
                Poll::Ready(this.filler.len())
            } else {
                Poll::Pending
            }
        }
    }

    fn is_polled_in_place_and_dropped_once<const N: usize>(in_place: bool) {
        assert_eq!(SmallFuture::<usize>::fits::<Pinned<N>>(), in_place);
        let dropped = Arc::new(());
        let made = || {
            future(Pinned::<N> {
                at: None,
                polls: 0,
                _dropped: dropped.clone(),
                filler: [0; N],
                _pinned: PhantomPinned,
            })
        };
        {
            let moved = std::iter::once(made()).collect::<Vec<_>>().pop().unwrap();
            let mut future = pin!(moved);
            let mut cx = Context::from_waker(Waker::noop());
            assert!(future.as_mut().poll(&mut cx).is_pending());
            assert!(future.as_mut().poll(&mut cx).is_pending());
            assert_eq!(future.as_mut().poll(&mut cx), Poll::Ready(N));
            assert_eq!(Arc::strong_count(&dropped), 2);
        }
        assert_eq!(Arc::strong_count(&dropped), 1);
        drop(made());
        assert_eq!(Arc::strong_count(&dropped), 1);
    }

    #[test]
    fn futures_are_polled_where_they_were_pinned_and_dropped_once() {
        is_polled_in_place_and_dropped_once::<8>(true);
        is_polled_in_place_and_dropped_once::<200>(false);
    }

    #[test]
    fn a_future_may_refer_to_itself() {
        let made = async {
            let mut number = 1_u8;
            let borrowed = &mut number;
            std::future::poll_fn(|cx| {
                *borrowed += 1;
                cx.waker().wake_by_ref();
                if *borrowed < 4 {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
            number
        };
        let mut future = pin!(future(made));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(future.as_mut().poll(&mut cx).is_pending());
        assert!(future.as_mut().poll(&mut cx).is_pending());
        assert_eq!(future.as_mut().poll(&mut cx), Poll::Ready(4));
    }

    #[test]
    fn a_value_may_change_behind_a_shared_reference() {
        use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

        trait Counts: Send + Sync {
            fn count(&self) -> usize;
        }
        struct Counter(AtomicUsize);
        impl Counts for Counter {
            fn count(&self) -> usize {
                self.0.fetch_add(1, Relaxed)
            }
        }
        // SAFETY: the pointer is the given one, and both are `Send` and `Sync`.
        unsafe impl KnownAs<dyn Counts> for Counter {
            fn known_as(this: *mut Self) -> *mut dyn Counts {
                this
            }
        }
        let counter: Small<dyn Counts, 1> = Small::new(Counter(AtomicUsize::new(0)));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| counter.get().count());
            }
        });
        let moved = counter;
        assert_eq!(moved.get().count(), 2);
    }

    #[test]
    fn outputs_of_any_size_and_alignment_come_out_as_they_went_in() {
        #[derive(Debug, PartialEq)]
        #[repr(align(64))]
        struct Aligned(u8);

        assert_eq!(take::<u64>(output(7_u64)), 7);
        assert_eq!(take::<[u64; 20]>(output([7_u64; 20])), [7; 20]);
        assert_eq!(take::<Aligned>(output(Aligned(7))), Aligned(7));
        take::<()>(output(()));
        let text = Arc::new("text".to_string());
        let moved = std::iter::once(output(text.clone())).collect::<Vec<_>>();
        assert_eq!(Arc::strong_count(&text), 2);
        drop(moved);
        assert_eq!(Arc::strong_count(&text), 1);
        assert_eq!(take::<Arc<String>>(output(text.clone())), text);
        assert_eq!(Arc::strong_count(&text), 1);
    }

    #[test]
    #[should_panic(expected = "an output of the type that the handle says")]
    fn an_output_of_another_type_is_refused() {
        take::<u32>(output(7_u64));
    }
}
