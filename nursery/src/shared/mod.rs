//! The state that a nursery shares with its handles and its children: [`Shared`].
//!
//! One word counts the members, and one lock guards all the rest. No user code runs under the lock:
//! no waker is cloned, called or dropped, no future, closure, error or handle dropped, no token
//! cancelled. The actions that follow from a change of the state are collected, and done after the
//! lock is released.
//!
//! | file | concept |
//! |---|---|
//! | `members.rs` | the word |
//! | `line.rs` | coming in: places, the limit, and the line |
//! | `ends.rs` | leaving, the last one, and the verdict |
//! | `failures.rs` | failures, and their effect on the others |
//! | `asked.rs` | the token that asks to end, made at its first use |
//! | `cancelling.rs` | asking to end, and dropping; shields |
//! | `closures.rs` | closures that can be cancelled before they start |
//! | `enclosing.rs` | work inside of children that may outlive them |

mod asked;
mod cancelling;
mod closures;
mod enclosing;
mod ends;
mod failures;
mod line;
#[cfg(all(test, fourway_loom, not(fourway_shuttle)))]
mod loom_models;
mod members;

use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
    task::Waker,
    time::Duration,
};

use fourway_core::{
    Runtime,
    cancel::CancellationToken,
    implement::{Enclosing, Hold, discard, enclose_late, enclosing, fork::Process},
    values::Values,
};

use self::{asked::Asked, closures::Closures, line::Line, members::Members};
use crate::{
    error::Failure,
    ledger::Ledger,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        lock,
    },
};

pub(crate) use self::{
    ends::{End, Over, Stake},
    line::{Admission, Number},
};

pub(crate) struct Shared<R: Runtime, E> {
    pub(crate) runtime: R,
    /// In which it was opened.
    pub(crate) process: Process,
    /// Asks the body and the children to end. The current token of all of them.
    asked: Asked,
    /// Has them dropped, unless they are in a shield. Made by the first that waits for it, or
    /// that cancels it: most nurseries end without either.
    hard: OnceLock<CancellationToken>,
    pub(crate) settings: Settings<E>,
    /// The nursery of the child or body in which this one runs: it is not over before this is.
    around: Option<Arc<dyn Enclosing>>,
    /// Set once the nursery's future was dropped: shields do not hold any more.
    abandoned: AtomicBool,
    /// The ledger has an entry, or is about to get one.
    noted: AtomicBool,
    /// The verdict was given, without the lock because nothing was noted.
    given: AtomicBool,
    members: Members,
    state: Mutex<State<R, E>>,
}

pub(crate) struct Settings<E> {
    pub(crate) supervise: bool,
    /// A failure that `on_failure` has taken is no failure of the nursery.
    pub(crate) forgives: bool,
    pub(crate) grace: Duration,
    pub(crate) keep: usize,
    pub(crate) on_failure: Option<OnFailure<E>>,
    pub(crate) is_cancellation: Option<Says<E>>,
}

impl<E> Default for Settings<E> {
    fn default() -> Self {
        Self {
            supervise: false,
            forgives: false,
            grace: Duration::ZERO,
            keep: 1024,
            on_failure: None,
            is_cancellation: None,
        }
    }
}

pub(crate) type OnFailure<E> = Arc<dyn Fn(Failure<E>) + Send + Sync>;
/// Is the error a cancellation?
pub(crate) type Says<E> = Arc<dyn Fn(&E) -> bool + Send + Sync>;

struct State<R: Runtime, E> {
    /// The body is among the members.
    has_body: bool,
    /// How many of the members are neither body nor child: nurseries in children, bodies of calls
    /// that run on after their children were dropped.
    holds: usize,
    /// How this one holds the nursery around it, until it is over.
    hold: Option<Box<dyn Hold>>,
    /// The nursery's future is gone: no caller asks for the verdict.
    left: bool,
    /// No more children are started.
    cancelling: bool,
    /// None as long as there is no limit, and no place is taken without a child.
    line: Option<Box<Line>>,
    closures: Closures<R>,
    /// Made with the first entry.
    ledger: Option<Box<Ledger<E>>>,
    /// How many failures are kept; none once the verdict was given.
    keep: usize,
    /// The nursery's future, which waits for the last to end.
    host: Option<Waker>,
    /// Cancelled when the nursery is over. Made when it is asked for.
    over: Option<CancellationToken>,
    /// Cancelled when the nursery's future is dropped. Made by the first child in a shield that
    /// is to be dropped.
    kill: Option<CancellationToken>,
}

impl<R: Runtime, E: Send + 'static> Shared<R, E> {
    /// Opens a nursery with that `token`; without one, it makes its own when somebody asks for it.
    /// Also gives the values of the body, which is about to begin here and now.
    pub(crate) fn open(
        runtime: &R,
        token: Option<CancellationToken>,
        limit: usize,
        settings: Settings<E>,
    ) -> (Arc<Self>, Values) {
        let around = enclosing();
        let hold = around.clone().and_then(|around| around.hold());
        let before = Values::current();
        let line = (limit < usize::MAX).then(|| Box::new(Line::new(limit)));
        let keep = settings.keep;
        // Taken out by reference: captured as a whole, all of it would be copied on the way.
        let mut parts = Some((settings, around.filter(|_| hold.is_some()), hold, line));
        let mut values = Values::default();
        let open = |me: &Weak<Self>| {
            let runtime = runtime.clone();
            let entry;
            (values, entry) = enclose_late(before, me.clone(), token.clone());
            let asked = Asked::new(entry);
            let (settings, around, hold, line) = parts.take().expect("called once");
            Self {
                runtime,
                process: Process::this(),
                asked,
                hard: OnceLock::new(),
                settings,
                around,
                abandoned: AtomicBool::new(false),
                noted: AtomicBool::new(false),
                given: AtomicBool::new(false),
                members: Members::new(),
                state: Mutex::new(State {
                    has_body: true,
                    holds: 0,
                    hold,
                    left: false,
                    cancelling: false,
                    line,
                    closures: Closures::new(),
                    ledger: None,
                    keep,
                    host: None,
                    over: None,
                    kill: None,
                }),
            }
        };
        let shared = Arc::new_cyclic(open);
        if let Some(token) = token {
            shared.asked.set(token);
        }
        if limit < usize::MAX {
            shared.members.guard();
        }
        (shared, values)
    }

    fn lock(&self) -> MutexGuard<'_, State<R, E>> {
        lock(&self.state)
    }
}

impl<R: Runtime, E> Shared<R, E> {
    /// Is this a forked child of the process in which the nursery was opened? Its children are not
    /// here then, and never end; its lock may be taken for ever (FK-1, forked children).
    pub(crate) fn is_inherited(&self) -> bool {
        !self.process.is_this()
    }

    /// For an entry, by the holder of the lock.
    fn ledger<'a>(&self, state: &'a mut State<R, E>) -> &'a mut Ledger<E> {
        // Relaxed: a member notes before it leaves, and the nursery's future looks after the last
        // has left (see `Members::leave`). An entry by others may as well come after the end.
        self.noted.store(true, Ordering::Relaxed);
        let keep = match self.given.load(Ordering::Relaxed) {
            true => 0,
            false => state.keep,
        };
        state
            .ledger
            .get_or_insert_with(|| Box::new(Ledger::new(keep)))
    }
}

/// An entry may come by a [`NurseryHandle`](crate::NurseryHandle) while the verdict is given, and is
/// kept then. It is dropped here, where a panic of its destructor must reach nobody.
impl<R: Runtime, E> Drop for State<R, E> {
    fn drop(&mut self) {
        if let Some(mut ledger) = self.ledger.take() {
            ledger.take_failures().into_iter().for_each(discard);
        }
    }
}

impl<R: Runtime, E> State<R, E> {
    fn line(&mut self) -> &mut Line {
        self.line
            .get_or_insert_with(|| Box::new(Line::new(usize::MAX)))
    }
}

impl<R: Runtime, E> fmt::Debug for Shared<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_inherited() {
            return f.write_str("Nursery(from before the fork)");
        }
        let state = lock(&self.state);
        f.debug_struct("Nursery")
            .field("live", &(self.members.count() - state.holds))
            .field("in_line", &state.line.as_ref().map_or(0, |line| line.len()))
            .field("cancelling", &state.cancelling)
            .finish_non_exhaustive()
    }
}
