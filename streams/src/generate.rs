use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use fourway_core::implement::wake;
use futures_core::Stream;
use pin_project_lite::pin_project;

use crate::sync::{Mutex, lock};

/// A stream of what an async closure sends: a body that gives many values.
///
/// The closure runs where the stream is polled, and waits in [`send`](Emitter::send) until the
/// item has been taken: nothing is read ahead. The stream ends when the body has ended and the
/// [`Emitter`] is dropped, which the body may have moved to a task.
///
/// # Cancel safety
///
/// Dropping the stream drops the body where it waits. A task that has the emitter is not part of
/// the body: in it, a send whose stream is dropped waits for ever. Keep the task's handle in the
/// body, so that dropping the body cancels the task; or await [`closed`](Emitter::closed) in the
/// task.
///
/// # Panics
///
/// A panic of the body reaches whoever polls the stream. So does any other panic that drops the
/// emitter, such as that of a task: the stream gives the remaining items, waits for the end of the
/// body, and then panics with a text of its own, as the task's handle has the payload. A task that
/// handles its panic keeps the emitter outside of the code that may panic, which borrows it.
///
/// The cancellation of such a task is not told apart from its end. Await the task's handle at the
/// end of the body and pass its error on, so that it is not taken for the end. The same holds for
/// a panic that leaves the emitter alone, such as that of another future in the same task.
///
/// # Examples
///
/// ```
/// use fourway_streams::{Stream, generate};
///
/// fn countdown(from: u32) -> impl Stream<Item = u32> {
///     generate(async move |mut to| {
///         for number in (0..from).rev() {
///             to.send(number).await;
///         }
///     })
/// }
/// ```
pub fn generate<T, F, Fut>(make: F) -> Generate<T, F, Fut>
where
    T: Send + 'static,
    F: FnOnce(Emitter<T>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Generate {
        make: Some(make),
        body: None,
        end: StreamEnd {
            slot: Arc::default(),
        },
    }
}

/// The panic of a stream whose emitter was dropped by a panic.
const PANICKED: &str = "the code that sent this stream's items has panicked";

/// Hands items over: one at a time, unless a sender was dropped before its item was taken.
struct Slot<T>(Mutex<Inside<T>>);

struct Inside<T> {
    item: Option<T>,
    /// The items behind it. Empty if there is no item; takes no memory before it is needed.
    more: VecDeque<T>,
    sender: Option<Sender>,
    /// The address of the waker by which the body is being polled.
    polled: Option<usize>,
    /// The stream's waker while it waits, for an emitter in another task. None while the stream is
    /// polled, as it looks for an item at the end of that.
    stream: Option<Waker>,
    emitter: Fate,
    /// The stream is dropped.
    is_closed: bool,
    /// There were items when it was dropped.
    has_refused: bool,
    /// The wakers of [`Closed`] futures, by number. Takes no memory before it is needed.
    closings: Vec<(u64, Waker)>,
    /// The numbers that were given to such futures.
    numbers: u64,
}

/// Who waits until its item is taken.
struct Sender {
    waker: Waker,
    /// It is a part of the body, and not something else in the task that polls the stream.
    is_in_body: bool,
}

/// What has become of the emitter.
#[derive(Clone, Copy)]
enum Fate {
    Alive,
    Dropped,
    /// Dropped by a panic.
    Panicked,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        let inside = Inside {
            item: None,
            more: VecDeque::new(),
            sender: None,
            polled: None,
            stream: None,
            emitter: Fate::Alive,
            is_closed: false,
            has_refused: false,
            closings: Vec::new(),
            numbers: 0,
        };
        Self(Mutex::new(inside))
    }
}

/// What a stream finds in its slot.
enum Found<T> {
    Item(T),
    Nothing,
    /// Nothing, and no emitter that could send anything.
    Last,
    /// The same, after a panic.
    Panicked,
}

impl<T> Slot<T> {
    /// For the stream, which is polled with this waker. If there is nothing, and it will `wait`,
    /// the next item wakes that.
    ///
    /// If there is nothing, the body may be polled next, by the same waker (`polls`).
    fn take(&self, polled: &Waker, wait: Option<Waker>, polls: bool) -> Found<T> {
        let mut inside = lock(&self.0);
        inside.polled = (polls && inside.item.is_none()).then(|| address(polled));
        let Some(item) = inside.item.take() else {
            let emitter = inside.emitter;
            let before = std::mem::replace(&mut inside.stream, wait);
            drop(inside);
            // Its destructor is the user's code, which does not run under the lock.
            drop(before);
            return match emitter {
                Fate::Alive => Found::Nothing,
                Fate::Dropped => Found::Last,
                Fate::Panicked => Found::Panicked,
            };
        };
        inside.item = inside.more.pop_front();
        // The sender waits for its own item, which is the last.
        let sender = match inside.item {
            Some(_) => None,
            None => inside.sender.take(),
        };
        drop(inside);
        // Mostly the sender is in the body and its waker is the stream's own: the next poll of the
        // stream polls the sender, too. Another waker belongs to a combinator in between, which polls
        // only what was woken. A sender elsewhere in the stream's task may be what the task waits for,
        // with no further poll of the stream.
        let is_polled = |sender: &Sender| sender.is_in_body && sender.waker.will_wake(polled);
        if let Some(sender) = sender.filter(|sender| !is_polled(sender)) {
            wake(sender.waker);
        }
        Found::Item(item)
    }

    /// Tells that the panic of the emitter has been passed on.
    fn forget_panic(&self) {
        lock(&self.0).emitter = Fate::Dropped;
    }
}

/// What tells wakers of different tasks apart.
fn address(waker: &Waker) -> usize {
    waker.data().addr()
}

/// A poll of the body; dropped by a panic of it.
struct Polling<'a, T>(&'a Slot<T>);

impl<T> Drop for Polling<'_, T> {
    fn drop(&mut self) {
        lock(&self.0.0).polled = None;
    }
}

/// The stream's side of a slot: the stream is gone when this is dropped.
struct StreamEnd<T> {
    slot: Arc<Slot<T>>,
}

impl<T> Drop for StreamEnd<T> {
    fn drop(&mut self) {
        let mut inside = lock(&self.slot.0);
        inside.is_closed = true;
        // A sender in a task waits for ever, maybe with the emitter: nobody will want the items.
        let items = (inside.item.take(), std::mem::take(&mut inside.more));
        inside.has_refused = items.0.is_some();
        let wakers = (inside.stream.take(), inside.sender.take());
        let closings = std::mem::take(&mut inside.closings);
        drop(inside);
        closings.into_iter().for_each(|(_, waker)| wake(waker));
        drop((items, wakers));
    }
}

/// Receives the items of a body, or of a task that the body has moved it to. Given by
/// [`generate()`].
#[must_use = "a body that sends nothing gives no items"]
pub struct Emitter<T> {
    slot: Arc<Slot<T>>,
}

impl<T> Emitter<T> {
    /// Hands over an item, and waits until it has been taken.
    ///
    /// # Cancel safety
    ///
    /// If dropped before its first poll, it has sent nothing. If dropped later, it has sent the
    /// item, which the stream gives in order, after the items of earlier dropped sends. All are
    /// kept, so a body that polls and drops sends again and again fills memory.
    pub fn send(&mut self, item: T) -> Emit<'_, T> {
        Emit {
            emitter: self,
            item: Some(item),
        }
    }

    /// Waits until the stream is dropped, so that nobody will take any more items. For an emitter
    /// that the body has moved to a task; the body itself is dropped with the stream.
    ///
    /// The future borrows nothing, so it can wait while the emitter sends. There may be several.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use fourway_core::{Runtime, Spawner, Task};
    /// use fourway_streams::{Items, Streams};
    /// use std::{future::poll_fn, pin::pin, task::Poll};
    ///
    /// /// Numbers of a task that outlives the body, and ends soon after the stream is dropped.
    /// fn numbers<R: Runtime>(rt: &R) -> Items<u32> {
    ///     let again = rt.clone();
    ///     rt.stream_with(async move |mut to| {
    ///         let task = async move {
    ///             let mut closed = to.closed();
    ///             let mut sends = pin!(async move {
    ///                 for number in 0.. {
    ///                     to.send(number).await;
    ///                 }
    ///             });
    ///             // Or `select!` of the `futures` crate.
    ///             poll_fn(|cx| match pin!(&mut closed).poll(cx) {
    ///                 Poll::Pending => sends.as_mut().poll(cx),
    ///                 ready => ready,
    ///             })
    ///             .await;
    ///             // Here it may tell somebody that it has ended.
    ///         };
    ///         again.spawn(task).detach();
    ///     })
    /// }
    /// ```
    pub fn closed(&self) -> Closed<T> {
        Closed {
            slot: self.slot.clone(),
            number: None,
        }
    }

    /// Is the stream dropped?
    ///
    /// For work between two items that need not be done if nobody takes the next one.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        lock(&self.slot.0).is_closed
    }
}

impl<T> Drop for Emitter<T> {
    fn drop(&mut self) {
        // Mostly that is the panic of the code that had the emitter. It may also be another one, if
        // a destructor runs tasks meanwhile, and one of these ends: then the end looks like a panic,
        // which is better than a panic that looks like the end.
        let fate = match std::thread::panicking() {
            true => Fate::Panicked,
            false => Fate::Dropped,
        };
        let mut inside = lock(&self.slot.0);
        inside.emitter = fate;
        let stream = inside.stream.take();
        drop(inside);
        if let Some(stream) = stream {
            wake(stream);
        }
    }
}

impl<T> fmt::Debug for Emitter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter").finish_non_exhaustive()
    }
}

/// The future of [`Emitter::send`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Emit<'a, T> {
    emitter: &'a mut Emitter<T>,
    item: Option<T>,
}

// The item is moved, never pinned.
impl<T> Unpin for Emit<'_, T> {}

impl<T> Future for Emit<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let this = &mut *self;
        let mut inside = lock(&this.emitter.slot.0);
        if inside.is_closed {
            // The last sent item may have been taken before. Nobody will take another one; it is
            // not dropped here, but with this future.
            let taken = this.item.is_none() && !inside.has_refused;
            return if taken {
                Poll::Ready(())
            } else {
                Poll::Pending
            };
        }
        match (this.item.take(), &inside.item) {
            // Behind the items of dropped senders: the first poll sends the item.
            (Some(item), Some(_)) => inside.more.push_back(item),
            (Some(item), None) => inside.item = Some(item),
            // Its item was the last one sent, as it borrows the emitter: so all items have been
            // taken.
            (None, None) => return Poll::Ready(()),
            (None, Some(_)) => {}
        }
        // A task is polled by one thread at a time: by this waker, its body is polled around this.
        let is_in_body = inside.polled == Some(address(&waker));
        let before = inside.sender.replace(Sender { waker, is_in_body });
        let stream = inside.stream.take();
        drop(inside);
        drop(before);
        // It waits, so this is another task.
        if let Some(stream) = stream {
            wake(stream);
        }
        Poll::Pending
    }
}

impl<T> fmt::Debug for Emit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emit").finish_non_exhaustive()
    }
}

/// The future of [`Emitter::closed`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Closed<T> {
    slot: Arc<Slot<T>>,
    /// That of its waker, from its first poll on.
    number: Option<u64>,
}

impl<T> Future for Closed<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let this = &mut *self;
        let mut inside = lock(&this.slot.0);
        if inside.is_closed {
            return Poll::Ready(());
        }
        let number = *this.number.get_or_insert_with(|| {
            inside.numbers += 1;
            inside.numbers
        });
        let kept = inside.closings.iter_mut().find(|(of, _)| *of == number);
        let before = match kept {
            Some((_, kept)) => Some(std::mem::replace(kept, waker)),
            None => {
                inside.closings.push((number, waker));
                None
            }
        };
        drop(inside);
        drop(before);
        Poll::Pending
    }
}

impl<T> Drop for Closed<T> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut inside = lock(&self.slot.0);
        let at = inside.closings.iter().position(|(of, _)| *of == number);
        let waker = at.map(|at| inside.closings.swap_remove(at));
        drop(inside);
        drop(waker);
    }
}

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed").finish_non_exhaustive()
    }
}

pin_project! {
    /// The stream of [`generate()`].
    #[must_use = "streams do nothing unless they are polled"]
    pub struct Generate<T, F, Fut> {
        make: Option<F>,
        #[pin]
        body: Option<Fut>,
        // Dropped behind the body: wakers of the body are not woken.
        end: StreamEnd<T>,
    }
}

impl<T, F, Fut> Stream for Generate<T, F, Fut>
where
    F: FnOnce(Emitter<T>) -> Fut,
    Fut: Future<Output = ()>,
{
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut this = self.project();
        let slot = &this.end.slot;
        if let Some(make) = this.make.take() {
            let emitter = Emitter { slot: slot.clone() };
            this.body.set(Some(make(emitter)));
        }
        // An item that a dropped sender or another task has left.
        let has_body = this.body.is_some();
        if let Found::Item(item) = slot.take(cx.waker(), None, has_body) {
            return Poll::Ready(Some(item));
        }
        if let Some(body) = this.body.as_mut().as_pin_mut() {
            let polling = Polling(slot);
            let is_over = body.poll(cx).is_ready();
            if is_over {
                drop(polling);
                this.body.set(None);
            } else {
                // The look for an item, just below, does the same under its own lock.
                std::mem::forget(polling);
            }
        }
        let mut found = slot.take(cx.waker(), None, false);
        if let Found::Nothing = found {
            // Another task may have the emitter.
            found = slot.take(cx.waker(), Some(cx.waker().clone()), false);
        }
        match found {
            Found::Item(item) => Poll::Ready(Some(item)),
            Found::Last if this.body.is_none() => Poll::Ready(None),
            Found::Panicked if this.body.is_none() => {
                slot.forget_panic();
                // The panic itself was reported, so the hook is not called again.
                std::panic::resume_unwind(Box::new(PANICKED))
            }
            Found::Last | Found::Panicked | Found::Nothing => Poll::Pending,
        }
    }
}

impl<T, F, Fut> fmt::Debug for Generate<T, F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generate").finish_non_exhaustive()
    }
}
