//! Holds a job's value until a caller takes it: [`Slot`].
//!
//! A body puts its value in, sealed. The store publishes it in the step that marks the job as
//! completed, so no thread sees one without the other.

use std::{
    any::Any,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use fourway_core::implement::{discard, wake};

use crate::{
    JobError, JobStatus,
    sync::{Mutex, MutexGuard, lock},
};

pub(crate) struct Slot<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    content: Content<T>,
    /// The first handle's, which is most often the only one.
    handle: Option<Waker>,
    /// In a box, as few jobs need it.
    more: Option<Box<More>>,
}

#[derive(Default)]
struct More {
    /// How often it was reopened.
    round: u32,
    /// The waiters besides the first handle, each at the place that it knows.
    others: Option<Box<Others>>,
    /// How many wait for the job's last status.
    want_status: usize,
    /// The status with which the job was forgotten, while somebody waits for it.
    status: Option<Box<JobStatus>>,
}

struct Others {
    /// Distinguishes this round from earlier ones: the places of waiters that were woken are no
    /// longer valid.
    round: u64,
    wakers: Vec<Option<Waker>>,
    /// Places that were left, so that no search for a free place is needed.
    free: Vec<usize>,
}

impl Others {
    fn new() -> Box<Self> {
        static ROUNDS: AtomicU64 = AtomicU64::new(0);
        Box::new(Self {
            // Relaxed: each number is given once, and no other access depends on it.
            round: ROUNDS.fetch_add(1, Ordering::Relaxed),
            wakers: Vec::new(),
            free: Vec::new(),
        })
    }
}

/// Where the waker of one of several is: in which round, and at which place.
pub(crate) type Place = (u64, usize);

/// Where the waker of a handle is. Each handle has its own place: a submission under a taken unique
/// key gives another handle of the same job, and all handles may wait at a time.
pub(crate) enum Waiter {
    /// The handle of the job's submitter.
    First {
        /// It has been there.
        waits: bool,
    },
    /// Another handle, among the others.
    Other(Option<Place>),
}

enum Content<T> {
    Empty,
    Sealed(T),
    Value(T),
    /// The value, of which copies were asked for: any number of threads clone it at the same time.
    /// In a box, as few jobs have it.
    Shared(Box<Arc<dyn Copies<T>>>),
    /// Once it was taken, its text.
    Error(JobError),
    /// The value was there.
    Taken,
}

/// A value that can be cloned, which a slot of any `T` may have.
trait Copies<T>: Send + Sync {
    fn copy(&self) -> T;

    /// The value itself, or a copy if another thread is cloning it at the moment.
    fn into_value(self: Arc<Self>) -> T;
}

struct Copied<T>(T);

impl<T: Clone + Send + Sync + 'static> Copies<T> for Copied<T> {
    fn copy(&self) -> T {
        self.0.clone()
    }

    fn into_value(self: Arc<Self>) -> T {
        match Arc::try_unwrap(self) {
            Ok(Self(value)) => value,
            Err(shared) => {
                let copy = shared.copy();
                // It may be the last one by now.
                discard(shared);
                copy
            }
        }
    }
}

/// The state of a value.
pub(crate) enum Found<T> {
    Value(T),
    Error(JobError),
    /// There was a value, and it was taken.
    Taken,
    NotYet,
}

impl<T: Send + 'static> Slot<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                content: Content::Empty,
                handle: None,
                more: None,
            }),
        }
    }

    /// Keeps the value until it is published or given up.
    pub(crate) fn seal(&self, value: T) {
        let before = std::mem::replace(&mut self.lock().content, Content::Sealed(value));
        discard(before);
    }

    /// Takes the content, or registers the handle's waker: never `NotYet`.
    pub(crate) fn poll_take(&self, waiter: &mut Waiter, cx: &mut Context<'_>) -> Poll<Found<T>> {
        loop {
            match self.take() {
                Found::NotYet => {}
                found => return Poll::Ready(found),
            }
            // Cloned outside of the lock, as `Waker::clone` is user code.
            let waker = cx.waker().clone();
            let mut state = self.lock();
            if state.is_there() {
                drop(state);
                drop(waker);
                // Once more, as the job may be tried again before it is taken.
                continue;
            }
            let before = match waiter {
                Waiter::First { waits } => {
                    *waits = true;
                    state.handle.replace(waker)
                }
                Waiter::Other(place) => state.wait(place, waker),
            };
            drop(state);
            drop(before);
            return Poll::Pending;
        }
    }

    /// Takes the content. The first caller gets the error with its cause, the others its text.
    pub(crate) fn take(&self) -> Found<T> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.content, Content::Taken) {
            Content::Value(value) => Found::Value(value),
            Content::Shared(shared) => {
                drop(state);
                // Without the lock, as it may call `clone`, which is user code.
                Found::Value(shared.into_value())
            }
            Content::Error(error) => {
                state.content = Content::Error(error.without_cause());
                Found::Error(error)
            }
            Content::Taken => Found::Taken,
            before @ (Content::Empty | Content::Sealed(_)) => {
                state.content = before;
                Found::NotYet
            }
        }
    }

    /// A clone of the value, which stays.
    pub(crate) fn copy(&self) -> Found<T>
    where
        T: Clone + Sync,
    {
        let mut state = self.lock();
        let shared = match std::mem::replace(&mut state.content, Content::Taken) {
            Content::Value(value) => Box::new(Arc::new(Copied(value)) as Arc<dyn Copies<T>>),
            Content::Shared(shared) => shared,
            before => {
                let found = match before {
                    Content::Empty | Content::Sealed(_) => Found::NotYet,
                    // The record has the text of an error.
                    _ => Found::Taken,
                };
                state.content = before;
                return found;
            }
        };
        let mine = Arc::clone(&shared);
        state.content = Content::Shared(shared);
        drop(state);
        // Without the lock, for `clone` is user code.
        let copy = mine.copy();
        // It is the last one if the value was taken meanwhile.
        discard(mine);
        Found::Value(copy)
    }
}

impl<T> Slot<T> {
    /// The handle waits no longer.
    pub(crate) fn leave(&self, waiter: &Waiter) {
        match *waiter {
            Waiter::First { waits: true } => {
                let gone = self.lock().handle.take();
                drop(gone);
            }
            Waiter::Other(Some(place)) => self.leave_place(place),
            Waiter::First { waits: false } | Waiter::Other(None) => {}
        }
    }

    fn leave_place(&self, (round, at): Place) {
        let mut state = self.lock();
        let others = state.more.as_mut().and_then(|more| more.others.as_mut());
        let gone = match others {
            Some(others) if others.round == round => {
                others.free.push(at);
                others.wakers[at].take()
            }
            _ => None,
        };
        drop(state);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }
}

/// The last owner may be anyone: a handle, a waiter, a body, the store. None of them is unwound by the
/// destructor of a value that nobody took (CA-4, destructors that panic or block).
impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !matches!(state.content, Content::Empty | Content::Taken) {
            discard(std::mem::replace(&mut state.content, Content::Empty));
        }
    }
}

impl<T> State<T> {
    fn is_there(&self) -> bool {
        matches!(
            self.content,
            Content::Value(_) | Content::Shared(_) | Content::Error(_) | Content::Taken
        )
    }

    /// Waits among the others, at that place from then on. Gives the waker that was there before,
    /// which must be dropped after the lock is released.
    fn wait(&mut self, place: &mut Option<Place>, waker: Waker) -> Option<Waker> {
        let others = self.more().others.get_or_insert_with(Others::new);
        let Others {
            round,
            wakers,
            free,
        } = &mut **others;
        let at = match *place {
            Some((of, at)) if of == *round => at,
            _ => free.pop().unwrap_or_else(|| {
                wakers.push(None);
                wakers.len() - 1
            }),
        };
        *place = Some((*round, at));
        wakers[at].replace(waker)
    }

    fn take_wakers(&mut self) -> Wakers {
        Wakers {
            handle: self.handle.take(),
            others: self.more.as_mut().and_then(|more| more.others.take()),
        }
    }

    fn round(&self) -> u32 {
        self.more.as_ref().map_or(0, |more| more.round)
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }
}

struct Wakers {
    handle: Option<Waker>,
    others: Option<Box<Others>>,
}

impl Wakers {
    fn all(self) -> impl Iterator<Item = Waker> {
        let others = self.others.map(|others| others.wakers);
        let others = others.into_iter().flatten().flatten();
        self.handle.into_iter().chain(others)
    }
}

/// The content taken out of a slot, to be dropped without any lock.
pub(crate) type Gone = Box<dyn Any + Send>;

/// A [`Slot`] of any type. Its methods are called without the store's lock, except those that say
/// otherwise. These must take effect before other threads see the job's next state, and a late call
/// that another thread makes for the previous state must have no effect.
pub(crate) trait AnySlot: Send + Sync {
    /// Shows the value and gives the wakers of its waiters. Under the store's lock, as other
    /// threads may see that the job has completed as soon as the lock is released.
    fn publish(&self, wakers: &mut Vec<Waker>);

    /// There will be no value, unless it was reopened meanwhile, after that many times.
    fn fail(&self, error: JobError, round: u32);

    /// Discards the sealed value: the job is tried again. Under the store's lock, as the next
    /// attempt may put in its value as soon as the lock is released.
    fn give_up(&self) -> Option<Gone>;

    /// The job runs once more after it had ended, for the `round`th time. Under the store's
    /// lock, for the same reason.
    fn reopen(&self, round: u32) -> Option<Gone>;

    /// Ready once the job has ended. `place` is where the waker is.
    fn poll_ended(&self, place: &mut Option<Place>, cx: &mut Context<'_>) -> Poll<()>;

    /// A waiter wants the job's last status, until it [leaves](Self::leave_status). Under the
    /// store's lock, so that the job is not forgotten meanwhile.
    fn want_status(&self);

    /// A waiter leaves, and its place if it has one.
    fn leave_status(&self, place: Option<Place>);

    /// The job is being forgotten: keeps its status if a waiter wants it. Under the store's lock.
    fn keep_status(&self, status: &mut dyn FnMut() -> JobStatus);

    /// What was kept.
    fn last_status(&self) -> Option<JobStatus>;

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<T: Send + 'static> AnySlot for Slot<T> {
    fn publish(&self, wakers: &mut Vec<Waker>) {
        let mut state = self.lock();
        state.content = match std::mem::replace(&mut state.content, Content::Empty) {
            Content::Sealed(value) => Content::Value(value),
            before => before,
        };
        let Wakers { handle, others } = state.take_wakers();
        // Pushed one by one, as each job does this, and there is seldom more than one waker.
        if let Some(handle) = handle {
            wakers.push(handle);
        }
        if let Some(others) = others {
            wakers.extend(others.wakers.into_iter().flatten());
        }
    }

    fn fail(&self, error: JobError, round: u32) {
        let mut state = self.lock();
        if state.round() != round {
            drop(state);
            discard(error);
            return;
        }
        let before = std::mem::replace(&mut state.content, Content::Error(error));
        let wakers = state.take_wakers();
        drop(state);
        discard(before);
        wakers.all().for_each(wake);
    }

    fn give_up(&self) -> Option<Gone> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.content, Content::Empty) {
            Content::Sealed(value) => Some(Box::new(value)),
            before => {
                state.content = before;
                None
            }
        }
    }

    fn reopen(&self, round: u32) -> Option<Gone> {
        let mut state = self.lock();
        state.more().round = round;
        match std::mem::replace(&mut state.content, Content::Empty) {
            Content::Sealed(value) | Content::Value(value) => Some(Box::new(value)),
            Content::Shared(shared) => Some(shared),
            Content::Error(error) => Some(Box::new(error)),
            Content::Empty | Content::Taken => None,
        }
    }

    fn poll_ended(&self, place: &mut Option<Place>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut state = self.lock();
        if state.is_there() {
            drop(state);
            drop(waker);
            return Poll::Ready(());
        }
        let before = state.wait(place, waker);
        drop(state);
        drop(before);
        Poll::Pending
    }

    fn want_status(&self) {
        self.lock().more().want_status += 1;
    }

    fn leave_status(&self, place: Option<Place>) {
        if let Some(place) = place {
            self.leave_place(place);
        }
        let mut state = self.lock();
        let more = state.more();
        more.want_status -= 1;
        let status = if more.want_status == 0 {
            more.status.take()
        } else {
            None
        };
        drop(state);
        drop(status);
    }

    fn keep_status(&self, status: &mut dyn FnMut() -> JobStatus) {
        let mut state = self.lock();
        if let Some(more) = state.more.as_mut().filter(|more| more.want_status > 0) {
            more.status = Some(Box::new(status()));
        }
    }

    fn last_status(&self) -> Option<JobStatus> {
        let state = self.lock();
        state.more.as_ref()?.status.as_deref().cloned()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
