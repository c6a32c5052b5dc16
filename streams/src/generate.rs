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
/// body, so that dropping the body cancels the task.
///
/// # Panics
///
/// A panic of the body reaches whoever polls the stream. A panic of a task that has the emitter is
/// the task's, as is its cancellation: the stream ends there, as if there were no more items. Await
/// the task's handle at the end of the body and pass its error on, so that it is not taken for the
/// end.
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
        slot: Arc::default(),
        make: Some(make),
        body: None,
    }
}

/// Hands items over: one at a time, unless a sender was dropped before its item was taken.
struct Slot<T>(Mutex<Inside<T>>);

struct Inside<T> {
    item: Option<T>,
    /// The items behind it. Empty if there is no item; takes no memory before it is needed.
    more: VecDeque<T>,
    sender: Option<Waker>,
    /// The stream's waker while it waits, for an emitter in another task. None while the stream is
    /// polled, as it looks for an item at the end of that.
    stream: Option<Waker>,
    /// The emitter is dropped.
    is_last: bool,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        let inside = Inside {
            item: None,
            more: VecDeque::new(),
            sender: None,
            stream: None,
            is_last: false,
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
}

impl<T> Slot<T> {
    /// For the stream, which is polled with this waker. If there is nothing, and it will `wait`,
    /// the next item wakes that.
    fn take(&self, polled: &Waker, wait: Option<Waker>) -> Found<T> {
        let mut inside = lock(&self.0);
        let Some(item) = inside.item.take() else {
            let is_last = inside.is_last;
            let before = std::mem::replace(&mut inside.stream, wait);
            drop(inside);
            // Its destructor is the user's code, which does not run under the lock.
            drop(before);
            return match is_last {
                true => Found::Last,
                false => Found::Nothing,
            };
        };
        inside.item = inside.more.pop_front();
        // The sender waits for its own item, which is the last.
        let sender = match inside.item {
            Some(_) => None,
            None => inside.sender.take(),
        };
        drop(inside);
        // Mostly the sender's waker is the stream's own: the next poll of the stream polls the
        // sender, too. Another waker belongs to a combinator in between, which polls only what was
        // woken.
        if let Some(sender) = sender.filter(|sender| !sender.will_wake(polled)) {
            wake(sender);
        }
        Found::Item(item)
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
}

impl<T> Drop for Emitter<T> {
    fn drop(&mut self) {
        let mut inside = lock(&self.slot.0);
        inside.is_last = true;
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
        match (this.item.take(), &inside.item) {
            // Behind the items of dropped senders: the first poll sends the item.
            (Some(item), Some(_)) => inside.more.push_back(item),
            (Some(item), None) => inside.item = Some(item),
            // Its item was the last one sent, as it borrows the emitter: so all items have been
            // taken.
            (None, None) => return Poll::Ready(()),
            (None, Some(_)) => {}
        }
        let before = inside.sender.replace(waker);
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

pin_project! {
    /// The stream of [`generate()`].
    #[must_use = "streams do nothing unless they are polled"]
    pub struct Generate<T, F, Fut> {
        slot: Arc<Slot<T>>,
        make: Option<F>,
        #[pin]
        body: Option<Fut>,
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
        if let Some(make) = this.make.take() {
            let emitter = Emitter {
                slot: this.slot.clone(),
            };
            this.body.set(Some(make(emitter)));
        }
        // An item that a dropped sender or another task has left.
        if let Found::Item(item) = this.slot.take(cx.waker(), None) {
            return Poll::Ready(Some(item));
        }
        if let Some(body) = this.body.as_mut().as_pin_mut() {
            if body.poll(cx).is_ready() {
                this.body.set(None);
            }
        }
        let mut found = this.slot.take(cx.waker(), None);
        if let Found::Nothing = found {
            // Another task may have the emitter.
            found = this.slot.take(cx.waker(), Some(cx.waker().clone()));
        }
        match found {
            Found::Item(item) => Poll::Ready(Some(item)),
            Found::Last if this.body.is_none() => Poll::Ready(None),
            Found::Last | Found::Nothing => Poll::Pending,
        }
    }
}

impl<T, F, Fut> fmt::Debug for Generate<T, F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generate").finish_non_exhaustive()
    }
}
