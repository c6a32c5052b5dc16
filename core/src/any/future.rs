//! A future without its type and, where it is small, without a box: [`SmallFuture`].

#![allow(unsafe_code, reason = "see `small`")]

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::small::{DropValue, Small, Table, TableOf, drop_value};

/// A future without its type. 64 bytes.
pub(super) type SmallFuture<T> = Small<FutureTable<T>, 7>;

/// `future`, in place if it is small, and in a box otherwise.
pub(super) fn future<F>(future: F) -> SmallFuture<F::Output>
where
    F: Future<Output: 'static> + Send + 'static,
{
    if SmallFuture::<F::Output>::fits::<F>() {
        Small::new(future)
    } else {
        Small::new(Box::pin(future))
    }
}

/// What can be done with a future.
pub(crate) struct FutureTable<T> {
    /// # Safety
    ///
    /// Takes a pointer to a future of the type, which is pinned.
    poll: unsafe fn(*mut (), &mut Context<'_>) -> Poll<T>,
    drop: DropValue,
}

impl<T: 'static> Table for FutureTable<T> {
    type Owns = dyn Future<Output = T> + Send;

    #[inline]
    fn drop(&self) -> DropValue {
        self.drop
    }
}

// SAFETY: both functions are those of an `F`, which is `Send`.
unsafe impl<F: Future<Output: 'static> + Send + 'static> TableOf<F> for FutureTable<F::Output> {
    const TABLE: &'static Self = &Self {
        poll: poll::<F>,
        drop: drop_value::<F>(),
    };
}

/// # Safety
///
/// `future` points to an `F`, which is pinned.
unsafe fn poll<F: Future>(future: *mut (), cx: &mut Context<'_>) -> Poll<F::Output> {
    // SAFETY: promised by the caller.
    unsafe { Pin::new_unchecked(&mut *future.cast::<F>()) }.poll(cx)
}

impl<T: 'static> Future for SmallFuture<T> {
    type Output = T;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // SAFETY: the table and the value are of the same `Small`. The value is inside of it, and
        // pinned with it: nothing moves it out, and it is dropped in place. A pinned `Small` can be
        // moved only if it is `Unpin`, which it never is.
        unsafe { (self.table().poll)(self.value(), cx) }
    }
}

#[cfg(test)]
mod tests {
    use std::{marker::PhantomPinned, pin::pin, ptr, sync::Arc, task::Waker};

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
}
