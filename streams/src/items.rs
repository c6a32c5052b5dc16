use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};

use fourway_core::{
    AnyRuntime, BlockOn, BlockOnError, BoxCall, Call, JoinError, Runtime,
    implement::{check_may_block, guard_call},
    task::Metadata,
};
use futures_core::Stream;

use crate::{
    ahead::{Ahead, BoxIterator, BoxStream, Kept, Limit},
    par_map::Work,
    wanted::Wanted,
};

/// How many items are read ahead by default; see [`Items::read_ahead`].
const READ_AHEAD: usize = 2048;

/// How many quick items are read ahead, unless [`Items::read_ahead`] says otherwise.
const OF_QUICK_ONES: usize = 8192;

/// Many values, one after the other, whose *caller* chooses how they are produced. Made by
/// [`Streams`](crate::Streams).
///
/// | | `for item in items` | `.next().await`, or as a [`Stream`] | [`spawn`](Self::spawn) |
/// |---|---|---|---|
/// | **iterator that may block** | a plain loop | read ahead on the pool | the same, at once |
/// | **async body** | driven on the calling thread | polled in place | a task |
///
/// Production begins with the first request for an item. Items come in order, each once, even if
/// sync and async code take turns. A panic comes at its place, and no items follow it ([each item
/// once, at its place](fourway_core::contract#ST-1)).
///
/// Dropping it stops the producer, at its next item. An iterator is dropped where it is read: for a
/// sync caller on its thread, for an async caller on the pool.
///
/// # Panics
///
/// A request for an item panics with a panic of the producer. It also panics if the runtime was
/// shut down or has no thread for a blocking iterator; for these, [`try_next`](Self::try_next)
/// gives an error.
#[must_use = "nothing is produced before items are asked for"]
pub struct Items<T: Send + 'static> {
    runtime: AnyRuntime,
    /// The line that layers and errors name for what is spawned and offloaded.
    origin: Metadata,
    read_ahead: Limit,
    source: Source<T>,
}

// Only boxed values in it are pinned.
impl<T: Send + 'static> Unpin for Items<T> {}

type Make<T> = Box<dyn FnOnce() -> BoxIterator<T> + Send>;

enum Source<T: Send + 'static> {
    /// An iterator that has not been made yet.
    Unmade(Make<T>),
    /// `None` after its end.
    Iterator(Option<Kept<T>>),
    /// `None` after its end.
    Stream(Option<BoxStream<T>>),
    Ahead(Ahead<T>),
}

impl<T: Send + 'static> Items<T> {
    #[track_caller]
    pub(crate) fn of_iterator(runtime: AnyRuntime, make: Make<T>) -> Self {
        Self::new(runtime, Source::Unmade(make))
    }

    #[track_caller]
    pub(crate) fn of_stream(runtime: AnyRuntime, stream: BoxStream<T>) -> Self {
        Self::new(runtime, Source::Stream(Some(stream)))
    }

    #[track_caller]
    fn new(runtime: AnyRuntime, source: Source<T>) -> Self {
        Self {
            runtime,
            origin: Metadata::caller(),
            read_ahead: Limit::new(READ_AHEAD, OF_QUICK_ONES),
            source,
        }
    }

    /// How many items are read before they are asked for, at most, where they are read ahead.
    /// Default: 2048, and 8192 for items that take less than 300 ns to produce and less than 300 ns
    /// to consume. At least 2.
    ///
    /// Half of them wait in a queue; the other half is on its way to the consumer. The value counts
    /// from the start of reading ahead. The limit grows up to it: 96 at first, and three more for
    /// each taken item.
    ///
    /// Waking a consumer takes tens of microseconds; meanwhile the producer goes on only as far as
    /// the queue has room. Half of the default lasts for 50 µs of items that take 50 ns each, such
    /// as the lines of a file. For large items, or items that cost a request each, set a small
    /// value.
    ///
    /// By default producer and consumer take turns if items are so quick. Reading and consuming at
    /// the same time would cost more than it saves, as each item would move between processors. A
    /// consumer that has taken all items is then woken when 4096 more are queued or the iterator
    /// ends, at the latest a millisecond after it began to wait. If items take longer to produce,
    /// but less than 10 µs, it is woken when so many are queued as take half a millisecond, at most
    /// 512, and as soon at the latest. Set a value to have each item at once.
    pub fn read_ahead(mut self, items: usize) -> Self {
        self.read_ahead = Limit::new(items, items);
        self
    }

    /// Has the items produced in parallel, from now on: an iterator by a closure on the pool, a
    /// stream by a task, at most [`read_ahead`](Self::read_ahead) of them ahead of the consumer.
    ///
    /// Layers and errors name the caller's line; without it, that of who made the items.
    #[track_caller]
    pub fn spawn(mut self) -> Self {
        self.origin = Metadata::caller();
        self.source = match self.source.take() {
            Source::Stream(Some(stream)) => {
                let origin = self.origin.clone();
                Source::Ahead(Ahead::of_stream(
                    &self.runtime,
                    origin,
                    self.read_ahead,
                    stream,
                ))
            }
            source => source.ahead(&self.runtime, &self.origin, self.read_ahead),
        };
        self
    }

    /// For async code: the next item, or `None` when there are no more.
    ///
    /// # Panics
    ///
    /// As said of the [type](Self).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the next request gives the item.
    #[expect(
        clippy::should_implement_trait,
        reason = "the name that users of streams know; an iterator is given by `iter`"
    )]
    pub fn next(&mut self) -> Next<'_, T> {
        Next { items: self }
    }

    /// As [`next`](Self::next), with an error where the runtime cannot produce the item.
    ///
    /// # Errors
    ///
    /// If the runtime was shut down, or has no thread for a blocking iterator. Then no more items
    /// follow.
    ///
    /// # Panics
    ///
    /// With a panic of the producer.
    ///
    /// # Cancel safety
    ///
    /// As of [`next`](Self::next).
    pub async fn try_next(&mut self) -> Result<Option<T>, JoinError> {
        let Self {
            runtime,
            origin,
            read_ahead,
            source,
        } = self;
        poll_fn(|cx| source.poll_next(runtime, origin, *read_ahead, cx)).await
    }

    /// For sync code: an iterator. The items that it has not taken stay.
    ///
    /// # Panics
    ///
    /// Its `next` panics on a thread that runs async code, as it would block that ([no blocking in
    /// async code](fourway_core::contract#BL-2)); and as said of the [type](Self).
    pub fn iter(&mut self) -> Iter<'_, T> {
        Iter { items: self }
    }

    /// All items at once, as a call: for a sync caller a plain loop, for an async caller of a
    /// blocking iterator a single hand-over.
    ///
    /// # Cancel safety
    ///
    /// Dropping it while it is awaited loses the items, and stops the producer at its next item.
    pub fn collect(mut self) -> BoxCall<Vec<T>> {
        let runtime = self.runtime.clone();
        match self.source.take() {
            Source::Unmade(make) => collect(&runtime, make),
            Source::Iterator(iterator) => collect(&runtime, || iterator.into_iter().flatten()),
            source => {
                self.source = source;
                let all = async move || {
                    let mut all = Vec::new();
                    while let Some(item) = self.next().await {
                        all.push(item);
                    }
                    all
                };
                runtime.call_with(all).boxed()
            }
        }
    }

    /// All items, each mapped by `map`, in the order of the items, as a call: items are mapped several
    /// at a time, and while others are read. `map` may block.
    ///
    /// The items are read on the thread of a sync caller, or by a closure on the pool. Other closures
    /// map what has been read, and the reading thread joins in where
    /// [half of what is read ahead](Self::read_ahead) waits, and after the last item. It costs about as
    /// much as a plain loop if reading takes longer than mapping.
    ///
    /// At most `at_once` items are mapped at a time, 0 and 1 mean: each where it was read. Quick items get a
    /// thread a processor, as more would only take turns; items that take longer than 250 µs get up
    /// to `at_once`. They need not run at the same time: no item may wait for another one.
    ///
    /// `map` is dropped with the last thread that maps items, perhaps a moment after the results are there.
    ///
    /// Layers and errors name the caller's line.
    ///
    /// # Panics
    ///
    /// With the first panic of `map` in the order of the items, or of the producer: no item is begun
    /// afterwards, and those that have begun are waited for. And as said of the [type](Self).
    ///
    /// # Cancel safety
    ///
    /// Dropping it while it is awaited loses the items, and stops each closure at its next item.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{BoxCall, Runtime};
    /// use fourway_streams::Streams;
    /// use std::{fs, io, path::PathBuf};
    ///
    /// /// The sizes of the files in a folder.
    /// fn sizes<R: Runtime>(rt: &R, folder: PathBuf) -> BoxCall<Vec<io::Result<u64>>> {
    ///     let entries = rt.stream_blocking(move || fs::read_dir(folder).into_iter().flatten());
    ///     entries.par_map(8, |entry| Ok(fs::read(entry?.path())?.len() as u64))
    /// }
    /// ```
    #[track_caller]
    pub fn par_map<U, F>(self, at_once: usize, map: F) -> BoxCall<Vec<U>>
    where
        U: Send + 'static,
        F: Fn(T) -> U + Send + Sync + 'static,
    {
        let (runtime, origin) = (self.runtime.clone(), Metadata::caller());
        let wanted = Wanted::new();
        let (over, limits) = (wanted.over(), (at_once, self.read_ahead.waiting()));
        let body = move || {
            Work::new(&self.runtime.clone(), origin, limits, over, map).run(self.into_iter())
        };
        guard_call(runtime.call_blocking(body), wanted)
    }

    /// The next item, by sync code.
    #[inline]
    #[track_caller]
    fn next_blocking(&mut self) -> Option<T> {
        if let (Source::Iterator(slot), Ok(())) = (&mut self.source, check_may_block()) {
            return next_in_place(slot);
        }
        self.next_otherwise()
    }

    /// The same, for all sources other than a plain loop.
    ///
    /// Apart, so that both give the item where the caller wants it. A processor waits for values that
    /// it copies right after they were stored in other parts.
    #[inline(never)]
    #[track_caller]
    fn next_otherwise(&mut self) -> Option<T> {
        match self.try_next_blocking() {
            Ok(Ok(item)) => item,
            Ok(Err(error)) => refuse(&error),
            Err(error) => panic!("{error}"),
        }
    }

    fn try_next_blocking(&mut self) -> Result<Result<Option<T>, JoinError>, BlockOnError> {
        check_may_block()?;
        if let Source::Unmade(_) = self.source {
            // If that panics, there are no items.
            if let Source::Unmade(make) = self.source.take() {
                let kept = Kept::new(&self.runtime, self.origin.clone(), make);
                self.source = Source::Iterator(Some(kept));
            }
        }
        match &mut self.source {
            Source::Iterator(slot) => Ok(Ok(next_in_place(slot))),
            source => {
                let (runtime, origin, limit) = (&self.runtime, &self.origin, self.read_ahead);
                runtime.try_block_on(poll_fn(|cx| source.poll_next(runtime, origin, limit, cx)))
            }
        }
    }
}

/// All items of an iterator, read by one closure, which stops if nobody waits for them any more.
fn collect<T, I>(runtime: &AnyRuntime, make: impl FnOnce() -> I + Send + 'static) -> BoxCall<Vec<T>>
where
    T: Send + 'static,
    I: Iterator<Item = T> + 'static,
{
    let wanted = Wanted::new();
    let iterator_of = wanted.reads(make);
    let call = runtime.call_blocking(move || iterator_of().collect());
    guard_call(call, wanted)
}

/// The next item of an iterator, which is dropped after the last one, and after a panic.
#[inline]
fn next_in_place<T: Send + 'static>(slot: &mut Option<Kept<T>>) -> Option<T> {
    struct Ends<'a, T: Send + 'static>(&'a mut Option<Kept<T>>);

    impl<T: Send + 'static> Drop for Ends<'_, T> {
        fn drop(&mut self) {
            *self.0 = None;
        }
    }

    let ends = Ends(slot);
    // As a whole: taken out of its `Option` and put back, an item would be copied in between.
    let item = match ends.0.as_mut() {
        Some(iterator) => iterator.next_in_place(),
        None => None,
    };
    if item.is_some() {
        // There may be more.
        std::mem::forget(ends);
    }
    item
}

impl<T: Send + 'static> Source<T> {
    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Iterator(None))
    }

    /// The same, read ahead, if it is not yet.
    fn ahead(self, runtime: &AnyRuntime, origin: &Metadata, limit: Limit) -> Self {
        match self {
            Self::Unmade(make) => {
                let (keeper, kept_for) = (runtime.clone(), origin.clone());
                let made = move || Kept::new(&keeper, kept_for, make);
                Self::Ahead(Ahead::of_iterator(runtime, origin.clone(), limit, made))
            }
            Self::Iterator(Some(iterator)) => Self::Ahead(Ahead::of_iterator(
                runtime,
                origin.clone(),
                limit,
                move || iterator,
            )),
            other => other,
        }
    }

    /// The next item, by async code.
    fn poll_next(
        &mut self,
        runtime: &AnyRuntime,
        origin: &Metadata,
        limit: Limit,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<T>, JoinError>> {
        if let Self::Unmade(_) | Self::Iterator(Some(_)) = self {
            *self = self.take().ahead(runtime, origin, limit);
        }
        match self {
            Self::Stream(slot) => {
                // Put back if there may be more: not after the last one, nor after a panic.
                let Some(mut stream) = slot.take() else {
                    return Poll::Ready(Ok(None));
                };
                let item = stream.as_mut().poll_next(cx);
                if !matches!(item, Poll::Ready(None)) {
                    *slot = Some(stream);
                }
                item.map(Ok)
            }
            Self::Ahead(ahead) => match ready!(ahead.poll_next(cx)) {
                Err(error) if error.is_panic() => error.resume_unwind(),
                item => Poll::Ready(item),
            },
            Self::Unmade(_) | Self::Iterator(_) => Poll::Ready(Ok(None)),
        }
    }
}

impl<T: Send + 'static> Stream for Items<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Self {
            runtime,
            origin,
            read_ahead,
            source,
        } = &mut *self;
        match ready!(source.poll_next(runtime, origin, *read_ahead, cx)) {
            Ok(item) => Poll::Ready(item),
            Err(error) => refuse(&error),
        }
    }
}

#[track_caller]
fn refuse(error: &JoinError) -> ! {
    panic!(
        "the next item cannot be produced: {error} (`try_next` gives an error in place of this panic)"
    )
}

/// The future of [`Items::next`].
#[derive(Debug)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Next<'a, T: Send + 'static> {
    items: &'a mut Items<T>,
}

impl<T: Send + 'static> Future for Next<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut *self.items).poll_next(cx)
    }
}

/// The iterator of [`Items::iter`], for sync code.
#[derive(Debug)]
pub struct Iter<'a, T: Send + 'static> {
    items: &'a mut Items<T>,
}

impl<T: Send + 'static> Iterator for Iter<'_, T> {
    type Item = T;

    #[inline]
    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.items.next_blocking()
    }
}

/// An iterator over all items, for sync code.
///
/// # Panics
///
/// As that of [`Items::iter`].
#[derive(Debug)]
pub struct IntoIter<T: Send + 'static> {
    items: Items<T>,
}

impl<T: Send + 'static> Iterator for IntoIter<T> {
    type Item = T;

    #[inline]
    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.items.next_blocking()
    }
}

impl<T: Send + 'static> IntoIterator for Items<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { items: self }
    }
}

impl<'a, T: Send + 'static> IntoIterator for &'a mut Items<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T: Send + 'static> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.source {
            Source::Unmade(_) => "an iterator, not made yet",
            Source::Iterator(Some(_)) => "an iterator",
            Source::Iterator(None) | Source::Stream(None) => "no more",
            Source::Stream(Some(_)) => "a stream",
            Source::Ahead(_) => "read ahead",
        };
        f.debug_struct("Items")
            .field("source", &state)
            .finish_non_exhaustive()
    }
}
