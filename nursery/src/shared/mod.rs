//! What a nursery, its handles and its children have in common: [`Shared`].
//!
//! One lock for all of it. Under it nothing of the user's runs: no waker is cloned, called or
//! dropped, no future, closure, error or handle dropped, no token cancelled. What a change of
//! the state asks for is collected and done after the lock is released.
//!
//! | file | concept |
//! |---|---|
//! | `line.rs` | coming in: places, the limit, and who waits for one |
//! | `ends.rs` | leaving, the last one, and the verdict |
//! | `failures.rs` | what fails, and what that does to the others |
//! | `cancelling.rs` | asking to end, and dropping; shields |
//! | `closures.rs` | closures that can be cancelled before they start |
//! | `enclosing.rs` | what is inside of children, and may outlive them |

mod cancelling;
mod closures;
mod enclosing;
mod ends;
mod failures;
mod line;

use std::{
    fmt,
    sync::{Arc, OnceLock, Weak, atomic::AtomicBool},
    task::Waker,
    time::Duration,
};

use fourway_core::{
    Runtime,
    cancel::CancellationToken,
    implement::{Enclosing, Hold, enclose, enclosing},
    values::Values,
};

use self::{closures::Closures, line::Line};
use crate::{
    error::{Failure, Refusal},
    ledger::Ledger,
    sync::{Mutex, MutexGuard, lock},
};

pub(crate) use self::{
    ends::{End, Stake},
    line::Admission,
};

pub(crate) struct Shared<R: Runtime, E> {
    pub(crate) runtime: R,
    /// Asks the body and the children to end. The current token of all of them.
    pub(crate) soft: CancellationToken,
    /// Has them dropped, unless they are in a shield. Made by the first that waits for it, or
    /// that cancels it: most nurseries end without either.
    hard: OnceLock<CancellationToken>,
    /// What is current in the body.
    pub(crate) values: Values,
    pub(crate) settings: Settings<E>,
    /// This, for what the children carry.
    pub(crate) me: Weak<dyn Enclosing>,
    /// The nursery of the child or body in which this one runs: it is not over before this is.
    around: Option<Arc<dyn Enclosing>>,
    /// Set once the nursery's future was dropped: shields do not hold any more.
    abandoned: AtomicBool,
    state: Mutex<State<R, E>>,
}

pub(crate) struct Settings<E> {
    pub(crate) supervise: bool,
    pub(crate) grace: Duration,
    pub(crate) keep: usize,
    pub(crate) on_failure: Option<OnFailure<E>>,
    pub(crate) is_cancellation: Option<Says<E>>,
}

pub(crate) type OnFailure<E> = Arc<dyn Fn(Failure<E>) + Send + Sync>;
/// Is the error a cancellation?
pub(crate) type Says<E> = Arc<dyn Fn(&E) -> bool + Send + Sync>;

struct State<R: Runtime, E> {
    /// The body, children, and those that wait in line.
    live: usize,
    /// Others that keep the nursery open: nurseries in its children, bodies of calls that run on
    /// after their children were dropped. Once there is none of both, the nursery is over.
    holds: usize,
    /// How this one holds the nursery around it, until it is over.
    hold: Option<Box<dyn Hold>>,
    /// The nursery's future is gone: nobody asks for the verdict.
    left: bool,
    /// No more children are started.
    cancelling: bool,
    line: Line,
    closures: Closures<R>,
    ledger: Ledger<E>,
    /// There has been a child.
    spawned: bool,
    /// The nursery's future, which waits for the last to end.
    host: Option<Waker>,
    /// Cancelled when the nursery is over. Made when somebody asks for it.
    over: Option<CancellationToken>,
    /// Cancelled when the nursery's future is dropped. Made by the first child in a shield that
    /// is to be dropped.
    kill: Option<CancellationToken>,
}

impl<R: Runtime, E: Send + 'static> Shared<R, E> {
    pub(crate) fn open(
        runtime: R,
        soft: CancellationToken,
        limit: usize,
        settings: Settings<E>,
    ) -> Arc<Self> {
        // Not held while it is made, for what is dropped on a panic is foreign code.
        let around = enclosing();
        let hold = around.clone().and_then(|around| around.hold());
        Arc::new_cyclic(|me: &Weak<Self>| {
            let me: Weak<dyn Enclosing> = me.clone();
            Self::new(runtime, soft, limit, settings, me, around, hold)
        })
    }

    fn new(
        runtime: R,
        soft: CancellationToken,
        limit: usize,
        settings: Settings<E>,
        me: Weak<dyn Enclosing>,
        around: Option<Arc<dyn Enclosing>>,
        hold: Option<Box<dyn Hold>>,
    ) -> Self {
        let values = soft.attach(enclose(Values::current(), &me));
        let keep = settings.keep;
        Self {
            runtime,
            soft,
            hard: OnceLock::new(),
            values,
            settings,
            me,
            around: around.filter(|_| hold.is_some()),
            abandoned: AtomicBool::new(false),
            state: Mutex::new(State {
                live: 1, // the body
                holds: 0,
                hold,
                left: false,
                cancelling: false,
                line: Line::new(limit),
                closures: Closures::new(),
                ledger: Ledger::new(keep),
                spawned: false,
                host: None,
                over: None,
                kill: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<R, E>> {
        lock(&self.state)
    }
}

impl<R: Runtime, E> State<R, E> {
    /// Refuses a child after the end, and while the nursery is being cancelled.
    fn refuse(&self, asked_to_end: bool) -> Result<(), Refusal> {
        if self.is_over() {
            Err(Refusal::Closed)
        } else if self.cancelling || asked_to_end {
            Err(Refusal::Cancelled)
        } else {
            Ok(())
        }
    }
}

impl<R: Runtime, E> fmt::Debug for Shared<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("Nursery")
            .field("live", &state.live)
            .field("in_line", &state.line.len())
            .field("cancelling", &state.cancelling)
            .finish_non_exhaustive()
    }
}
