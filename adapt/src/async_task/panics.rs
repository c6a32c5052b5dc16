//! Panics for which there is no outcome.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use fourway_core::{
    Payload,
    implement::{OnDropPanic, discard},
};

use super::postponed;
use crate::fork::PerProcess;

/// The panic hook has reported it, and no joiner will ask.
#[derive(Debug)]
pub struct DiscardPanic;

impl OnDropPanic for DiscardPanic {
    fn report(&self, payload: Payload) {
        discard(payload);
    }
}

/// Keeps the panic of a task for a joiner that gets no outcome.
#[derive(Debug)]
pub struct ReportPanic(pub(super) u64);

impl OnDropPanic for ReportPanic {
    fn report(&self, payload: Payload) {
        let shared = shared(payload);
        keep(self.0, Entry::Kept(shared));
    }

    #[inline]
    fn may_poll(&self) -> bool {
        !postponed::contains(self.0)
    }

    fn caught(&self, payload: Payload) -> Payload {
        let shared = shared(payload);
        keep(self.0, Entry::InOutcome(Arc::downgrade(&shared)));
        Box::new(Watched {
            number: self.0,
            shared,
        })
    }
}

/// A payload in more than one place; the first caller takes it.
type SharedPayload = Arc<Mutex<Option<Payload>>>;

fn shared(payload: Payload) -> SharedPayload {
    Arc::new(Mutex::new(Some(payload)))
}

fn take(shared: &SharedPayload) -> Option<Payload> {
    shared.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The payload that is put into an outcome. `async-task` drops the outcome of a
/// poll during which the task was cancelled; then this keeps the payload, if
/// there is a joiner who may ask.
pub(super) struct Watched {
    number: u64,
    shared: SharedPayload,
}

impl Watched {
    pub(super) fn payload(&self) -> Payload {
        take(&self.shared).expect("a task has one joiner, who is told once")
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut panics = panics();
        let at = panics.position(self.number);
        // The joiner asks under the same lock, and finds the payload in the outcome or here.
        let before = match at {
            Some(at) if panics.cancelled.contains(&self.number) => {
                let entry = Entry::Kept(self.shared.clone());
                Some(std::mem::replace(&mut panics.entries[at].1, entry))
            }
            Some(at) => panics.remove(at),
            None => None,
        };
        drop(panics);
        drop(before);
    }
}

/// While this lives, the caller that cancelled a task may ask how it ended.
pub(super) struct Interest(u64);

impl Interest {
    pub(super) fn new(number: u64) -> Self {
        panics().cancelled.insert(number);
        Self(number)
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut panics = panics();
        panics.cancelled.remove(&self.0);
        let entry = match panics.position(self.0) {
            Some(at) => panics.remove(at),
            None => None,
        };
        drop(panics);
        discard(entry);
    }
}

/// Panics by task number. The panic hook has reported each of them.
#[derive(Default)]
struct Panics {
    entries: VecDeque<(u64, Entry)>,
    /// Tasks that were cancelled, and whose joiner is still there.
    cancelled: BTreeSet<u64>,
}

enum Entry {
    /// The panic of a task whose outcome has it too.
    InOutcome(Weak<Mutex<Option<Payload>>>),
    Kept(SharedPayload),
}

/// Enough for the joiners that could come; later entries push out those of tasks without one.
const KEPT: usize = 1024;

#[derive(Default)]
struct Shelf {
    panics: Mutex<Panics>,
    /// The number of entries, to be read without the lock.
    count: AtomicUsize,
}

/// Made by the first panic or cancellation.
static SHELF: PerProcess<Shelf> = PerProcess::new();

fn panics() -> MutexGuard<'static, Panics> {
    let shelf = SHELF.get_or_init(Shelf::default);
    shelf.panics.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Panics {
    fn position(&self, number: u64) -> Option<usize> {
        self.entries.iter().position(|(kept, _)| *kept == number)
    }

    /// Drop the entry outside of the lock.
    fn remove(&mut self, at: usize) -> Option<Entry> {
        let (_, entry) = self.entries.remove(at)?;
        self.count();
        Some(entry)
    }

    /// Under the lock of the shelf.
    fn count(&self) {
        if let Some(shelf) = SHELF.get() {
            // Release pairs with the Acquire in `take_kept`, so that the joiner, who
            // was woken after this, does not take the short cut.
            shelf.count.store(self.entries.len(), Ordering::Release);
        }
    }
}

fn keep(number: u64, entry: Entry) {
    let mut panics = panics();
    let pushed_out = if panics.entries.len() == KEPT {
        panics.entries.pop_front()
    } else {
        None
    };
    panics.entries.push_back((number, entry));
    panics.count();
    drop(panics);
    discard(pushed_out);
}

pub(super) fn take_kept(number: u64) -> Option<Payload> {
    let shelf = SHELF.get()?;
    // Acquire pairs with the Release in `Panics::count`.
    if shelf.count.load(Ordering::Acquire) == 0 {
        return None;
    }
    let mut panics = panics();
    let at = panics.position(number)?;
    let shared = match panics.remove(at)? {
        Entry::Kept(shared) => Some(shared),
        // Under the lock, which the outcome takes before it lets go.
        Entry::InOutcome(weak) => weak.upgrade(),
    };
    drop(panics);
    take(&shared?)
}
