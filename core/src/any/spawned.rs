//! A future whose output has no type, which a runtime runs for [`AnyRuntime`](crate::AnyRuntime).
//!
//! The runtime's own task and handle keep the contract for it.
//!
//! The caller writes the future into a block of memory, once, and the runtime gets one pointer. When
//! the future is ready, its output takes its place, and the joiner gets the pointer. Both are on
//! their way through a runtime a few times, and each move of a value that was put together a moment
//! ago is slow: a processor has to wait when it loads what was stored in other parts. The moves of a
//! pointer go through registers.

#![allow(
    unsafe_code,
    reason = "a spawn without types would take two allocations more: a box for the future, one for the output"
)]

use std::{
    any::TypeId,
    future::{Future, IntoFuture},
    mem::{ManuallyDrop, replace},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    ptr::{self, NonNull},
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    future::{self, SmallFuture},
    reserve::{self, Block},
    small::{DropValue, drop_value},
};
use crate::implement::discard;

/// A future without its type, in a block, or in a box in a block if it is large.
pub(super) struct Spawned {
    /// Its head is a `&'static FutureTable`, that of the future in its space. [`GONE`] when it was
    /// ready.
    block: NonNull<Block>,
}

/// An output without its type, in a block, or in a box in a block if it is large.
pub(crate) struct Output {
    /// Its head is the [`DropValue`] of the value in its space, which is a [`Typed`].
    block: NonNull<Block>,
}

/// A value, and its type.
// Not in a table of the type, as a future's functions are. There may be several tables of one type,
// so that the address of one would not tell, and it would take a call to ask.
#[repr(C)]
struct Typed<V> {
    type_id: TypeId,
    value: V,
}

/// No block.
const GONE: NonNull<Block> = NonNull::dangling();

/// What can be done with a future in a block.
struct FutureTable {
    /// Polls the future. If it is ready, its output takes its place in the block: `true`.
    ///
    /// # Safety
    ///
    /// The future is in the block, and is pinned. It is gone afterwards if this is `true`. If this
    /// unwinds, then the head says which future is there.
    poll: unsafe fn(NonNull<Block>, &mut Context<'_>) -> bool,
    drop: DropValue,
}

// SAFETY: `spawned` takes futures and outputs that are `Send`, and nothing else refers to the block.
unsafe impl Send for Spawned {}

// SAFETY: as above.
unsafe impl Send for Output {}

/// The future of a task that will be joined.
#[inline]
pub(super) fn spawned<F>(future: F) -> Spawned
where
    F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
{
    if Block::fits::<F::IntoFuture>() {
        Spawned::new(|| future.into_future())
    } else {
        Spawned::new(|| boxed(future))
    }
}

impl Spawned {
    /// With the future that `make` makes, which is written to its place at once.
    #[inline]
    fn new<F>(make: impl FnOnce() -> F) -> Self
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        assert!(Block::fits::<F>(), "asked for before");
        let empty = Empty(reserve::take());
        // User code, which may panic.
        let future = make();
        let Empty(block) = *ManuallyDrop::new(empty);
        // SAFETY: the block is ours, and nothing is in it. Its space has room for an `F`, as was just
        // asserted.
        unsafe { Block::space(block).cast::<F>().write(future) };
        // SAFETY: as above.
        unsafe { *Block::head(block) = FutureTable::of::<F>() };
        Self { block }
    }

    /// # Safety
    ///
    /// The block is not [`GONE`].
    #[inline]
    unsafe fn table(&self) -> &'static FutureTable {
        // SAFETY: the block is there, and its head is a table of a future, see `Self::block`.
        unsafe { &*(*Block::head(self.block)).cast() }
    }
}

impl Future for Spawned {
    type Output = Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        assert!(
            self.block != GONE,
            "a task's future was polled after it was ready"
        );
        // SAFETY: it is not `GONE`.
        let poll = unsafe { self.table() }.poll;
        // SAFETY: the table is that of the future in the block, which stays there, whatever happens to
        // `self`, until it is dropped in place.
        if unsafe { poll(self.block, cx) } {
            // The output is in the block, with its head.
            let block = replace(&mut self.block, GONE);
            Poll::Ready(Output { block })
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Spawned {
    #[inline]
    fn drop(&mut self) {
        if self.block == GONE {
            return;
        }
        // Given back also if the destructor panics.
        let block = Empty(self.block);
        // SAFETY: it is not `GONE`.
        if let Some(drop) = unsafe { self.table() }.drop {
            // SAFETY: the table is that of the future in the space, and this is the last access to it.
            unsafe { drop(Block::space(block.0)) };
        }
    }
}

impl FutureTable {
    #[inline]
    fn of<F>() -> *const ()
    where
        F: Future<Output: Send + 'static>,
    {
        let table: &'static Self = const {
            &Self {
                poll: poll::<F>,
                drop: drop_value::<F>(),
            }
        };
        ptr::from_ref(table).cast()
    }
}

/// The table of a block whose future is being destroyed, or was destroyed by a destructor that
/// panicked.
const DESTROYED: &FutureTable = &FutureTable {
    poll: |_, _| panic!("a task's future was polled after it panicked"),
    drop: None,
};

/// # Safety
///
/// As [`FutureTable::poll`] says, for a future of the type `F`.
unsafe fn poll<F>(block: NonNull<Block>, cx: &mut Context<'_>) -> bool
where
    F: Future<Output: Send + 'static>,
{
    // SAFETY: the block is there.
    let future = unsafe { Block::space(block) }.cast::<F>();
    // SAFETY: promised by the caller.
    let Poll::Ready(output) = unsafe { Pin::new_unchecked(&mut *future) }.poll(cx) else {
        return false;
    };
    if let Some(destroy) = drop_value::<F>() {
        // SAFETY: the block is there, and nothing refers to its head.
        unsafe { *Block::head(block) = ptr::from_ref(DESTROYED).cast() };
        // SAFETY: the future is in the space, and not used again, as the head says now.
        let destroyed = catch_unwind(AssertUnwindSafe(|| unsafe { destroy(future.cast()) }));
        if let Err(payload) = destroyed {
            // Its own destructor may panic as well, which must not abort the process.
            discard(output);
            resume_unwind(payload);
        }
    }
    // SAFETY: the future has been destroyed, and its place is free.
    unsafe {
        if Block::fits::<Typed<F::Output>>() {
            put(block, output);
        } else {
            put(block, Box::new(output));
        }
    }
    true
}

/// Puts an output into a block.
///
/// # Safety
///
/// The block is from [`reserve::take`], is the caller's, and there is nothing in it.
#[inline]
unsafe fn put<V: Send + 'static>(block: NonNull<Block>, value: V) {
    // What does not fit is in a box, so that must.
    const { assert!(Block::fits::<Typed<Box<()>>>()) };
    assert!(Block::fits::<Typed<V>>(), "asked for before");
    let typed = Typed {
        type_id: TypeId::of::<V>(),
        value,
    };
    // SAFETY: promised by the caller; there is room, as was just asserted.
    unsafe { Block::space(block).cast::<Typed<V>>().write(typed) };
    // SAFETY: as above; a head has room for a pointer to a function.
    unsafe {
        Block::head(block)
            .cast::<DropValue>()
            .write(drop_value::<Typed<V>>())
    };
}

impl Output {
    /// Takes the output, which is a `T`.
    ///
    /// # Panics
    ///
    /// If it is not.
    #[inline]
    pub(super) fn take<T: Send + 'static>(self) -> T {
        if Block::fits::<Typed<T>>() {
            self.take_value()
        } else {
            *self.take_value::<Box<T>>()
        }
    }

    #[inline]
    fn take_value<V: Send + 'static>(self) -> V {
        // SAFETY: the value in the space is a `Typed`, see `Self::block`. Of each, the type is the
        // first part, whatever the rest is.
        let type_id = unsafe { *Block::space(self.block).cast::<TypeId>() };
        assert!(
            type_id == TypeId::of::<V>(),
            "an output is of another type than the handle says"
        );
        let block = Empty(ManuallyDrop::new(self).block);
        // SAFETY: the block is there.
        let typed = unsafe { Block::space(block.0) }.cast::<Typed<V>>();
        // SAFETY: the value is a `Typed<V>`, as its type says. It is not used again, because the block
        // is empty from here on.
        unsafe { (&raw const (*typed).value).read() }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Given back also if the destructor panics.
        let block = Empty(self.block);
        // SAFETY: the block is there, and its head is a `DropValue`, see `Self::block`.
        if let Some(drop) = unsafe { *Block::head(self.block).cast::<DropValue>() } {
            // SAFETY: it is that of the value in the space, which is not used again.
            unsafe { drop(Block::space(block.0)) };
        }
    }
}

/// A block with nothing in it, which is given back.
struct Empty(NonNull<Block>);

impl Drop for Empty {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: all blocks are from `reserve::take`. Who makes an `Empty` does not use the block
        // otherwise once that is dropped.
        unsafe { reserve::give(self.0) };
    }
}

/// A future whose output is dropped where it ran.
// Not in a block: no joiner would give that back to the thread that took it.
pub(super) fn detached<F>(future: F) -> SmallFuture<()>
where
    F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
{
    // A small future first, so that its copies take no stack beside a large one.
    fn unboxed<F>(future: F) -> SmallFuture<()>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        future::future(Dropping {
            future: future.into_future(),
        })
    }
    if SmallFuture::<()>::fits::<F::IntoFuture>() {
        unboxed(future)
    } else {
        future::future(Dropping {
            future: boxed(future),
        })
    }
}

/// A large future in its box, before anything else is done with it: each move takes stack in a program
/// that is not optimized.
fn boxed<F: IntoFuture>(future: F) -> Pin<Box<F::IntoFuture>> {
    Box::pin(future.into_future())
}

pin_project! {
    // Not an async block, which would take room for the future twice.
    struct Dropping<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Dropping<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().future.poll(cx).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::{marker::PhantomPinned, pin::pin, sync::Arc, task::Waker};

    use super::*;

    /// Polls it until it is ready.
    fn run(future: Spawned) -> Output {
        let mut future = pin!(future);
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
        }
    }

    fn panics(f: impl FnOnce()) -> String {
        let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
        let message = payload.downcast_ref::<&str>();
        (*message.expect("of this test")).to_string()
    }

    /// Panics when it is dropped.
    struct Panics(&'static str);

    impl Drop for Panics {
        fn drop(&mut self) {
            std::panic::panic_any(self.0);
        }
    }

    /// Looks at each poll whether it has been moved, if it has been polled before.
    struct Pinned<const N: usize, D = ()> {
        at: Option<usize>,
        polls: u32,
        filler: [u8; N],
        _dropped: Arc<()>,
        _with: D,
        _pinned: PhantomPinned,
    }

    impl<const N: usize, D> Pinned<N, D> {
        fn new(dropped: &Arc<()>, with: D) -> Self {
            Self {
                at: None,
                polls: 0,
                filler: [0; N],
                _dropped: dropped.clone(),
                _with: with,
                _pinned: PhantomPinned,
            }
        }
    }

    impl<const N: usize, D> Future for Pinned<N, D> {
        type Output = (Arc<()>, [u8; N]);

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            let here = ptr::from_ref(&*self).addr();
            // SAFETY: nothing is moved out.
            let this = unsafe { self.get_unchecked_mut() };
            assert_eq!(*this.at.get_or_insert(here), here);
            this.polls += 1;
            if this.polls == 3 {
                Poll::Ready((this._dropped.clone(), this.filler))
            } else {
                Poll::Pending
            }
        }
    }

    fn is_polled_in_place_and_dropped_once<const N: usize>(in_place: bool) {
        assert_eq!(Block::fits::<Pinned<N>>(), in_place);
        let dropped = Arc::new(());
        let made = || spawned(Pinned::<N>::new(&dropped, ()));
        let ready = run(made());
        // The output's; the future is gone.
        assert_eq!(Arc::strong_count(&dropped), 2);
        let (kept, filler) = ready.take::<(Arc<()>, [u8; N])>();
        assert_eq!(filler, [0; N]);
        drop(kept);
        assert_eq!(Arc::strong_count(&dropped), 1);
        drop(run(made()));
        assert_eq!(Arc::strong_count(&dropped), 1);
        drop(made());
        assert_eq!(Arc::strong_count(&dropped), 1);
        let mut polled = Box::pin(made());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(polled.as_mut().poll(&mut cx).is_pending());
        drop(polled);
        assert_eq!(Arc::strong_count(&dropped), 1);
    }

    #[test]
    fn futures_are_polled_where_they_were_pinned_and_dropped_once() {
        is_polled_in_place_and_dropped_once::<8>(true);
        is_polled_in_place_and_dropped_once::<16>(true);
        is_polled_in_place_and_dropped_once::<200>(false);
    }

    #[test]
    fn outputs_of_any_size_and_alignment_come_out_as_they_went_in() {
        #[derive(Debug, PartialEq)]
        #[repr(align(64))]
        struct Aligned(u8);

        fn through<T: Send + 'static>(output: T) -> T {
            run(spawned(std::future::ready(output))).take()
        }

        assert_eq!(through(7_u64), 7);
        assert_eq!(through([7_u64; 5]), [7; 5]);
        assert_eq!(through([7_u64; 6]), [7; 6]);
        assert_eq!(through([7_u64; 200]), [7; 200]);
        assert_eq!(through(Aligned(7)), Aligned(7));
        assert_eq!(through("text".to_string()), "text");
        through(());
    }

    #[test]
    fn what_has_no_room_is_in_a_box() {
        assert!(Block::fits::<String>() && Block::fits::<[usize; 7]>());
        assert!(!Block::fits::<[usize; 8]>() && !Block::fits::<Typed<u128>>());
        #[cfg(target_pointer_width = "64")]
        assert!(Block::fits::<Typed<[usize; 5]>>() && !Block::fits::<Typed<[usize; 6]>>());
        assert_eq!(size_of::<Block>(), size_of::<[usize; 8]>());
        assert_eq!(size_of::<Option<Spawned>>(), size_of::<usize>());
    }

    #[test]
    fn a_future_may_refer_to_itself() {
        let future = spawned(async {
            let mut number = 1_u8;
            let borrowed = &mut number;
            std::future::poll_fn(|_| {
                *borrowed += 1;
                if *borrowed < 4 {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
            number
        });
        assert_eq!(run(future).take::<u8>(), 4);
    }

    #[test]
    fn an_output_of_another_type_is_refused_and_dropped() {
        let dropped = Arc::new(());
        let output = run(spawned(std::future::ready(dropped.clone())));
        let message = panics(|| {
            output.take::<u64>();
        });
        assert_eq!(message, "an output is of another type than the handle says");
        assert_eq!(Arc::strong_count(&dropped), 1);
    }

    #[test]
    fn a_future_that_panics_is_dropped_with_its_task() {
        let dropped = Arc::new(());
        let kept = dropped.clone();
        let mut future = spawned(async move {
            let _kept = kept;
            std::panic::panic_any("polled");
        });
        assert_eq!(
            panics(|| {
                let mut cx = Context::from_waker(Waker::noop());
                let _ = Pin::new(&mut future).poll(&mut cx);
            }),
            "polled"
        );
        drop(future);
        assert_eq!(Arc::strong_count(&dropped), 1);
    }

    #[test]
    fn a_destructor_that_panics_when_the_future_is_ready_takes_the_outputs_place() {
        let dropped = Arc::new(());
        let mut future = spawned(Pinned::<8, _>::new(&dropped, Panics("dropped")));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut future).poll(&mut cx).is_pending());
        assert!(Pin::new(&mut future).poll(&mut cx).is_pending());
        assert_eq!(
            panics(|| {
                let _ = Pin::new(&mut future).poll(&mut cx);
            }),
            "dropped"
        );
        // The future's and the output's are gone, and nothing is left to be dropped.
        assert_eq!(Arc::strong_count(&dropped), 1);
        drop(future);
        assert_eq!(Arc::strong_count(&dropped), 1);
    }

    #[test]
    fn destructors_of_the_future_and_of_its_output_may_both_panic() {
        struct Both {
            output: Option<Panics>,
            _held: Panics,
        }

        impl Future for Both {
            type Output = Panics;

            fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Panics> {
                Poll::Ready(self.output.take().expect("polled once"))
            }
        }

        let future = spawned(Both {
            output: Some(Panics("the output")),
            _held: Panics("the future"),
        });
        assert_eq!(panics(|| drop(run(future))), "the future");
    }

    #[test]
    fn a_block_is_given_back_in_any_case() {
        // On a thread of its own, whose reserve is empty.
        let thread = std::thread::spawn(|| {
            let block = reserve::take();
            let is_given_back = || {
                let again = reserve::take();
                assert_eq!(again, block);
                // SAFETY: from `take`, and not used while it is in the reserve.
                unsafe { reserve::give(again) };
            };
            // SAFETY: as above.
            unsafe { reserve::give(block) };
            run(spawned(async {})).take::<()>();
            is_given_back();
            drop(run(spawned(async {})));
            is_given_back();
            drop(spawned(async {}));
            is_given_back();
            let held = Panics("dropped");
            panics(|| {
                drop(spawned(async move {
                    let _held = held;
                }));
            });
            is_given_back();
            let held = Panics("dropped");
            panics(|| drop(run(spawned(std::future::ready(held)))));
            is_given_back();
            struct Unmade;
            impl IntoFuture for Unmade {
                type Output = ();
                type IntoFuture = std::future::Ready<()>;

                fn into_future(self) -> Self::IntoFuture {
                    std::panic::panic_any("unmade")
                }
            }
            panics(|| drop(spawned(Unmade)));
            is_given_back();
        });
        thread.join().unwrap();
    }
}
