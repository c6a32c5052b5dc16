//! The nursery's own thread: the body, and waiting for the children.

use std::{
    collections::VecDeque,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Weak},
    thread,
};

use fourway_core::{
    JoinError,
    cancel::{CancellationToken, Reason},
    implement::{self, fork::Process},
};

use crate::{
    NurseryError,
    error::{Failure, Kind},
    label::Label,
    ledger::Ledger,
    shared::{OnFailure, Says},
    sync::{Mutex, lock},
};

use super::{
    SyncNursery,
    line::{Line, SyncShared},
    outcomes::{Holds, SyncOutcomes},
    sink::SyncOutcome,
    wait::{Wait, wait_for},
};

/// The result of a run besides the verdict.
pub(crate) struct Ran<T, E> {
    pub(crate) verdict: Result<T, NurseryError<E>>,
    /// Was there any child?
    pub(crate) had_children: bool,
    /// Is there a failure that the nursery has to report? Did the body fail?
    pub(crate) has_failed: bool,
    pub(crate) body_failed: bool,
}

pub(crate) struct SyncSettings<E> {
    pub(crate) token: CancellationToken,
    pub(crate) limit: usize,
    pub(crate) supervise: bool,
    pub(crate) forgives: bool,
    pub(crate) keep: usize,
    pub(crate) on_failure: Option<OnFailure<E>>,
    pub(crate) is_cancellation: Option<Says<E>>,
    pub(crate) wait: Arc<dyn Wait>,
}

/// Runs the body and all children to their end. Call it where blocking is allowed.
pub(crate) fn run<'env, T, E: Send + 'static>(
    settings: SyncSettings<E>,
    body: impl for<'scope> FnOnce(SyncNursery<'scope, 'env, E>) -> Result<T, E>,
) -> Ran<T, E> {
    let outcome = Arc::new_cyclic(|me: &Weak<SyncOutcomes<E>>| SyncOutcomes {
        process: Process::this(),
        token: settings.token,
        supervise: settings.supervise,
        forgives: settings.forgives,
        on_failure: settings.on_failure,
        is_cancellation: settings.is_cancellation,
        ledger: Mutex::new(Ledger::new(settings.keep)),
        wait: settings.wait,
        me: me.clone(),
        holds: Mutex::new(Holds::default()),
    });
    let mut had_children = false;
    let value = thread::scope(|scope| {
        let values = outcome.values();
        let shared = Arc::new(SyncShared {
            outcome: outcome.clone(),
            of_body: values.clone(),
            line: Mutex::new(Line {
                limit: settings.limit,
                taken: 0,
                waiting: VecDeque::new(),
                spawned: false,
                host: None,
            }),
        });
        let nursery = SyncNursery {
            scope,
            shared: shared.clone(),
            label: Label::default(),
            with_context: true,
        };
        // Unwind safety: the body's captures are destroyed with it. Its borrows are left as a panic
        // of a child would leave them.
        let result = catch_unwind(AssertUnwindSafe(|| values.scope(|| body(nursery))));
        let (value, failure) = match result {
            Ok(Ok(value)) => (Some(value), None),
            Ok(Err(error)) => match outcome.failed_or_cancelled::<()>(error) {
                SyncOutcome::Failed(failure) => (None, Some(failure)),
                SyncOutcome::Done(()) | SyncOutcome::Cancelled(_) => (None, None),
            },
            Err(payload) => (None, Some(Failure::Join(JoinError::panicked(payload)))),
        };
        if let Some(failure) = failure {
            lock(&outcome.ledger).body_failed = true;
            outcome.keep(failure);
            shared.cancel(Reason::SiblingFailed);
        }
        // A later child is spawned by one that the body has spawned.
        had_children = shared.lock().spawned;
        let over = pin!(poll_fn(|cx| shared.poll_over(cx)));
        // Where no thread drives the runtime, the threads are joined without it.
        let _ = outcome.wait.wait(over);
        value
    });
    wait_for(&*outcome.wait, |cx| outcome.poll_free(cx));
    let ledger = std::mem::replace(&mut *lock(&outcome.ledger), Ledger::new(0));
    Ran {
        has_failed: ledger.has_failed(),
        body_failed: ledger.body_failed,
        verdict: ledger.verdict(value, || outcome.token.reason()),
        had_children,
    }
}

/// The refusal on a thread that runs async code.
pub(crate) fn refusal<E>() -> Option<NurseryError<E>> {
    implement::check_may_block().err().map(|_| NurseryError {
        kind: Kind::Refused,
        failures: Vec::new(),
        not_kept: 0,
        cancelled: 0,
    })
}
