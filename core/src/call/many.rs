use std::{
    fmt,
    future::Future,
    iter,
    num::NonZeroUsize,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    vec,
};

use super::{Call, CallError, Driven, driven::Drive};
use crate::{
    Runtime,
    task::Metadata,
    woken::{Ticket, Woken},
};

/// Several calls at once, and the policy for their outputs.
///
/// A [`Driven`] of this is made by [`Runtime::call_all`], [`Runtime::call_try_all`],
/// [`Runtime::call_race`] and [`Runtime::call_race_ok`].
pub struct Many<R, C, P> {
    runtime: R,
    calls: Vec<C>,
    at_most: Option<NonZeroUsize>,
    policy: P,
}

impl<R, C, P> fmt::Debug for Many<R, C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Many")
            .field("calls", &self.calls.len())
            .field("at_most", &self.at_most)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime, C: Call, P: Policy<C::Output>> Driven<Many<R, C, P>> {
    pub(crate) fn many(runtime: R, calls: impl IntoIterator<Item = C>, policy: P) -> Self {
        Self {
            drive: Many {
                runtime,
                calls: calls.into_iter().collect(),
                at_most: None,
                policy,
            },
        }
    }

    /// Lets at most `calls` of them run at a time; the others start, in order, as these
    /// finish. Without this, all of them start at once.
    ///
    /// # Panics
    ///
    /// If `calls` is zero.
    #[track_caller]
    pub fn at_most(mut self, calls: usize) -> Self {
        let calls = NonZeroUsize::new(calls);
        self.drive.at_most = Some(calls.expect("with a limit of 0, no call could ever run"));
        self
    }
}

/// The policy for the outputs.
pub trait Policy<T>: Send + 'static {
    /// The output of all of them together.
    type Output: Send + 'static;

    /// Before the first of `calls` runs.
    fn start(&mut self, calls: usize);

    /// The call at `index`, in the order in which they were given, has finished. With `Some`,
    /// this is the outcome, and the calls that are left are dropped.
    fn take(&mut self, index: usize, output: T) -> Option<Self::Output>;

    /// All of them have finished.
    fn end(&mut self) -> Self::Output;
}

impl<R, C, P> Drive for Many<R, C, P>
where
    R: Runtime,
    C: Call,
    P: Policy<C::Output>,
{
    type Output = P::Output;
    type Runtime = R;
    type Future = ManyFuture<C, P>;

    fn runtime(&self) -> R {
        self.runtime.clone()
    }

    fn future(self, metadata: Metadata) -> Self::Future {
        let places = self.at_most.map_or(usize::MAX, NonZeroUsize::get);
        ManyFuture {
            policy: self.policy,
            metadata,
            running: Vec::with_capacity(places.min(self.calls.len())),
            left: self.calls.len(),
            waiting: self.calls.into_iter().enumerate(),
            places,
            started: false,
            woken: Woken::new(),
        }
    }
}

/// The fallible future of several calls: polls each that was woken, and starts those that
/// wait as places become free.
///
/// # Cancel safety
///
/// Dropping it cancels the calls that run.
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct ManyFuture<C: Call, P> {
    policy: P,
    /// For the blocking bodies.
    metadata: Metadata,
    // Destroyed from the first to the last.
    running: Vec<Place<C::Fallible>>,
    waiting: iter::Enumerate<vec::IntoIter<C>>,
    /// How many have not finished.
    left: usize,
    places: usize,
    started: bool,
    /// By their places.
    woken: Woken<usize>,
}

/// Where one call after the other runs.
struct Place<F> {
    index: usize,
    // `None` once no call is left for this place.
    future: Option<Pin<Box<F>>>,
    // For this call alone: a late wake of the call before must not poll it.
    ticket: Arc<Ticket<usize>>,
    waker: Waker,
}

// The futures are pinned by themselves.
impl<C: Call, P> Unpin for ManyFuture<C, P> {}

/// Polls of calls in one poll of the whole. After them the executor gets a turn.
const BATCH: usize = 64;

impl<C: Call, P: Policy<C::Output>> ManyFuture<C, P> {
    /// Starts the next call that waits, if there is one, in the given place or a new one.
    fn start_next(&mut self, place: Option<usize>) {
        let Some((index, call)) = self.waiting.next() else {
            return;
        };
        let at = place.unwrap_or(self.running.len());
        let ticket = self.woken.due(at);
        let next = Place {
            index,
            future: Some(Box::pin(call.fallible_with(self.metadata.clone()))),
            waker: Waker::from(ticket.clone()),
            ticket,
        };
        match self.running.get_mut(at) {
            Some(place) => *place = next,
            None => self.running.push(next),
        }
    }
}

impl<C: Call, P: Policy<C::Output>> Future for ManyFuture<C, P> {
    type Output = Result<P::Output, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if !this.started {
            this.started = true;
            this.policy.start(this.left);
            for _ in 0..this.places.min(this.left) {
                this.start_next(None);
            }
        }
        if this.left == 0 {
            return Poll::Ready(Ok(this.policy.end()));
        }
        this.woken.set_whole(cx.waker());
        for _ in 0..BATCH {
            let Some(ticket) = this.woken.pop() else {
                return Poll::Pending;
            };
            let at = **ticket;
            let place = &mut this.running[at];
            let Some(future) = &mut place.future else {
                continue;
            };
            if !Arc::ptr_eq(&place.ticket, &ticket) {
                continue;
            }
            let polled = future.as_mut().poll(&mut Context::from_waker(&place.waker));
            let Poll::Ready(output) = polled else {
                continue;
            };
            let index = place.index;
            // Destroyed before its output is seen, and before the next one starts.
            place.future = None;
            this.left -= 1;
            let outcome = match output {
                Ok(output) => this.policy.take(index, output).map(Ok),
                Err(error) => Some(Err(error)),
            };
            if let Some(outcome) = outcome {
                this.running.clear();
                this.waiting = Vec::new().into_iter().enumerate();
                return Poll::Ready(outcome);
            }
            if this.left == 0 {
                return Poll::Ready(Ok(this.policy.end()));
            }
            this.start_next(Some(at));
        }
        // More calls may be woken: they are polled in the next turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<C: Call, P> fmt::Debug for ManyFuture<C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManyFuture")
            .field("left", &self.left)
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

/// All outputs, in the order of the calls.
#[derive(Debug)]
pub struct All<T> {
    outputs: Vec<Option<T>>,
}

impl<T> Default for All<T> {
    fn default() -> Self {
        Self {
            outputs: Vec::new(),
        }
    }
}

impl<T> All<T> {
    fn take_all(&mut self) -> Vec<T> {
        let outputs = std::mem::take(&mut self.outputs).into_iter();
        // Each call has put its own there.
        outputs.flatten().collect()
    }
}

impl<T: Send + 'static> Policy<T> for All<T> {
    type Output = Vec<T>;

    fn start(&mut self, calls: usize) {
        self.outputs.resize_with(calls, || None);
    }

    fn take(&mut self, index: usize, output: T) -> Option<Vec<T>> {
        self.outputs[index] = Some(output);
        None
    }

    fn end(&mut self) -> Vec<T> {
        self.take_all()
    }
}

/// All values, or the first error.
#[derive(Debug)]
pub struct TryAll<T> {
    values: All<T>,
}

impl<T> Default for TryAll<T> {
    fn default() -> Self {
        Self {
            values: All::default(),
        }
    }
}

impl<T: Send + 'static, E: Send + 'static> Policy<Result<T, E>> for TryAll<T> {
    type Output = Result<Vec<T>, E>;

    fn start(&mut self, calls: usize) {
        self.values.outputs.resize_with(calls, || None);
    }

    fn take(&mut self, index: usize, output: Result<T, E>) -> Option<Self::Output> {
        match output {
            Ok(value) => {
                self.values.outputs[index] = Some(value);
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn end(&mut self) -> Self::Output {
        Ok(self.values.take_all())
    }
}

/// The output that is there first.
#[derive(Debug, Default)]
pub struct Race(());

impl<T: Send + 'static> Policy<T> for Race {
    type Output = Option<T>;

    fn start(&mut self, _calls: usize) {}

    fn take(&mut self, _index: usize, output: T) -> Option<Option<T>> {
        Some(Some(output))
    }

    fn end(&mut self) -> Option<T> {
        // There were no calls.
        None
    }
}

/// The value that is there first, or all errors, in the order of the calls.
#[derive(Debug)]
pub struct RaceOk<E> {
    errors: All<E>,
}

impl<E> Default for RaceOk<E> {
    fn default() -> Self {
        Self {
            errors: All::default(),
        }
    }
}

impl<T: Send + 'static, E: Send + 'static> Policy<Result<T, E>> for RaceOk<E> {
    type Output = Result<T, Vec<E>>;

    fn start(&mut self, calls: usize) {
        self.errors.outputs.resize_with(calls, || None);
    }

    fn take(&mut self, index: usize, output: Result<T, E>) -> Option<Self::Output> {
        match output {
            Ok(value) => Some(Ok(value)),
            Err(error) => {
                self.errors.outputs[index] = Some(error);
                None
            }
        }
    }

    fn end(&mut self) -> Self::Output {
        Err(self.errors.take_all())
    }
}
