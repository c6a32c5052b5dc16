//! Panics for which there is no outcome.

use std::{
    collections::{BTreeMap, BTreeSet},
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
        // The joiner asks under the same lock, and finds the payload in the outcome or here.
        let before = if panics.cancelled.contains(&self.number) {
            let entry = Entry::Kept(self.shared.clone());
            panics.replace(self.number, entry)
        } else {
            panics.remove(self.number)
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
        let entry = panics.remove(self.0);
        drop(panics);
        discard(entry);
    }
}

/// Panics by task number. The panic hook has reported each of them.
#[derive(Default)]
struct Panics {
    entries: BTreeMap<u64, Shelved>,
    /// The tasks in the order in which their panics came.
    order: BTreeMap<u64, u64>,
    /// How many have come so far.
    came: u64,
    /// Tasks that were cancelled, and whose joiner is still there.
    cancelled: BTreeSet<u64>,
}

enum Entry {
    /// The panic of a task whose outcome has it too.
    InOutcome(Weak<Mutex<Option<Payload>>>),
    Kept(SharedPayload),
}

struct Shelved {
    /// Its place in the order.
    came: u64,
    entry: Entry,
}

/// At most so many panics wait for a joiner who may come. One more pushes out the oldest, but never
/// that of a task whose cancellation somebody waits for.
///
/// A task that panics after its handle was dropped or detached has no joiner, but does not know it:
/// to tell it would take a word that both share, which is an allocation, or work, for each spawn.
/// Such panics would add up without a bound.
const KEPT: usize = 1 << 16;

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
    /// Adds an entry; gives the one that it pushes out. Drop that outside of the lock, as all of
    /// these.
    fn add(&mut self, number: u64, entry: Entry) -> Option<Entry> {
        let came = self.came;
        self.came += 1;
        self.order.insert(came, number);
        // A task panics once, or twice if the destructor of its future does too.
        if let Some(before) = self.entries.insert(number, Shelved { came, entry }) {
            self.order.remove(&before.came);
            return Some(before.entry);
        }
        self.count();
        if self.entries.len() <= KEPT {
            return None;
        }
        let mut oldest = self.order.values().copied();
        let oldest = oldest.find(|old| *old != number && !self.cancelled.contains(old));
        self.remove(oldest?)
    }

    fn replace(&mut self, number: u64, entry: Entry) -> Option<Entry> {
        let shelved = self.entries.get_mut(&number)?;
        Some(std::mem::replace(&mut shelved.entry, entry))
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let Shelved { came, entry } = self.entries.remove(&number)?;
        self.order.remove(&came);
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
    let pushed_out = panics.add(number, entry);
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
    let shared = match panics.remove(number)? {
        Entry::Kept(shared) => Some(shared),
        // Under the lock, which the outcome takes before it lets go.
        Entry::InOutcome(weak) => weak.upgrade(),
    };
    drop(panics);
    take(&shared?)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use super::{Entry, KEPT, Panics, shared};

    #[test]
    fn the_oldest_goes_unless_somebody_waits_for_its_cancellation() {
        let mut panics = Panics::default();
        let entry = || Entry::Kept(shared(Box::new(())));
        // Not in the order of their numbers.
        let number = |came: usize| u64::try_from(KEPT - came).unwrap();
        panics.cancelled.insert(number(0));
        for came in 0..KEPT {
            assert!(panics.add(number(came), entry()).is_none());
        }
        assert!(panics.add(u64::MAX, entry()).is_some());
        assert!(panics.remove(number(1)).is_none(), "the oldest went");
        assert!(panics.remove(number(0)).is_some(), "it is waited for");
        assert!(panics.remove(number(2)).is_some());
        assert_eq!(panics.entries.len(), panics.order.len());
    }

    /// The payload of a panic that another one of the same task replaces, on a full shelf: its
    /// destructor is user code, and may have panics to keep itself.
    #[test]
    fn a_second_panic_of_a_task_pushes_out_its_first_alone() {
        struct Looks(Arc<Mutex<Panics>>, Arc<AtomicBool>);
        impl Drop for Looks {
            fn drop(&mut self) {
                self.1.store(self.0.try_lock().is_ok(), Ordering::SeqCst);
            }
        }
        let panics = Arc::new(Mutex::new(Panics::default()));
        let was_free = Arc::<AtomicBool>::default();
        let entry = || Entry::Kept(shared(Box::new(())));
        let looks = Looks(panics.clone(), was_free.clone());
        let last = u64::try_from(KEPT).unwrap() - 1;
        {
            let mut panics = panics.lock().unwrap();
            for number in 0..last {
                assert!(panics.add(number, entry()).is_none());
            }
            let first = Entry::Kept(shared(Box::new(looks)));
            assert!(panics.add(last, first).is_none());
        }
        let before = panics.lock().unwrap().add(last, entry());
        assert!(before.is_some());
        drop(before);
        assert!(was_free.load(Ordering::SeqCst), "dropped under the lock");
        let mut panics = panics.lock().unwrap();
        assert_eq!(panics.entries.len(), KEPT);
        assert!(panics.remove(0).is_some(), "that of another task went");
        assert_eq!(panics.entries.len(), panics.order.len());
    }
}
