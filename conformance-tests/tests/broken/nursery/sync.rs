//! Nurseries of sync code.

use std::{
    collections::VecDeque,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex},
    task::{Poll, Waker},
    thread::{self, Scope},
};

use fourway_conformance::nursery::{
    Error, Failure, Kind, Settings, SyncBody, SyncChild, SyncNursery, SyncSpawn, Trouble,
};
use fourway_core::{
    AnyRuntime, BlockOn, JoinError, Payload,
    cancel::{self, CancellationToken, Cancelled, Reason},
    implement::{check_may_block, discard},
    values::Values,
};

use crate::bugs::{self, Bug};

use super::shared::lock;

pub(super) fn run<'env>(
    rt: &AnyRuntime,
    settings: Settings,
    body: SyncBody<'env>,
) -> Result<u32, Trouble> {
    let bug = bugs::bug();
    if bug != Bug::SyncAllowedInAsync && check_may_block().is_err() {
        return Err(Trouble {
            kind: Kind::Refused,
            failures: Vec::new(),
            cancelled: 0,
        });
    }
    let around = settings.token.or_else(cancel::try_current);
    let around = around.unwrap_or_default();
    let outcome = Arc::new(Outcome {
        bug,
        token: match settings.timeout {
            Some(timeout) if bug != Bug::SyncDeadlineIgnored => {
                around.child_with_timeout(rt, timeout)
            }
            _ => around.child(),
        },
        supervise: settings.supervise,
        ends: Mutex::default(),
    });
    let value = thread::scope(|scope| {
        let shared = Arc::new(Shared {
            outcome: outcome.clone(),
            line: Mutex::new(Line {
                limit: settings.limit.unwrap_or(usize::MAX),
                taken: 0,
                waiting: VecDeque::new(),
                host: None,
            }),
        });
        let nursery = SyncNursery::new(Spawner {
            scope,
            shared: shared.clone(),
        });
        let values = outcome.token.attach(Values::current());
        let result = catch_unwind(AssertUnwindSafe(|| values.scope(|| body(nursery))));
        let value = outcome.ended(result);
        if value.is_none() && !lock(&outcome.ends).failures.is_empty() {
            shared.cancel();
        }
        if bug != Bug::SyncKeepsSlot {
            let _ = rt.try_block_on(poll_fn(|cx| {
                let waker = cx.waker().clone();
                let mut line = lock(&shared.line);
                if line.taken == 0 {
                    return Poll::Ready(());
                }
                line.host = Some(waker);
                Poll::Pending
            }));
        }
        value
    });
    outcome.verdict(value)
}

struct Outcome {
    bug: Bug,
    token: CancellationToken,
    supervise: bool,
    ends: Mutex<Ends>,
}

#[derive(Default)]
struct Ends {
    failures: Vec<Failure<Error>>,
    cancelled: usize,
    by_itself: bool,
}

impl Outcome {
    /// Records how a child, or the body, has ended.
    fn ended<T>(&self, result: Result<Result<T, Error>, Payload>) -> Option<T> {
        let is_cancellation = |error: &Error| {
            let inner = error.get_ref();
            self.token.is_cancelled() && inner.is_some_and(|inner| inner.is::<Cancelled>())
        };
        let failure = match result {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) if is_cancellation(&error) => {
                lock(&self.ends).cancelled += 1;
                return None;
            }
            Ok(Err(error)) => Failure::Error(error),
            Err(payload) if self.bug == Bug::SyncPanicEscapes => resume_unwind(payload),
            Err(payload) => Failure::Join(JoinError::panicked(payload)),
        };
        lock(&self.ends).failures.push(failure);
        None
    }

    fn verdict(&self, value: Option<u32>) -> Result<u32, Trouble> {
        let Ends {
            failures,
            cancelled,
            by_itself,
        } = std::mem::take(&mut *lock(&self.ends));
        let cut = value.is_none() || cancelled > 0;
        let kind = match self.token.reason() {
            Some(Reason::Deadline) if !by_itself && cut => Kind::Timeout,
            Some(_) if !by_itself && cut => Kind::Cancelled,
            _ if !failures.is_empty() => Kind::Failed,
            _ => match value {
                Some(value) => return Ok(value),
                None => Kind::Cancelled,
            },
        };
        Err(Trouble {
            kind,
            failures,
            cancelled,
        })
    }
}

struct Shared<'scope> {
    outcome: Arc<Outcome>,
    line: Mutex<Line<'scope>>,
}

struct Line<'scope> {
    limit: usize,
    taken: usize,
    waiting: VecDeque<(SyncChild<'scope>, Values)>,
    host: Option<Waker>,
}

impl<'scope> Shared<'scope> {
    fn run(&self, (child, values): (SyncChild<'scope>, Values)) {
        let outcome = &self.outcome;
        if outcome.token.is_cancelled() {
            discard(child);
            lock(&outcome.ends).cancelled += 1;
            return;
        }
        let before = lock(&outcome.ends).failures.len();
        let result = catch_unwind(AssertUnwindSafe(|| values.scope(child)));
        let value = outcome.ended(result);
        let failed = value.is_none() && lock(&outcome.ends).failures.len() > before;
        if failed && !outcome.supervise && outcome.bug != Bug::SyncFailsSlow {
            self.cancel();
        }
    }

    fn cancel(&self) {
        if !self.outcome.token.is_cancelled() {
            lock(&self.outcome.ends).by_itself = true;
        }
        self.outcome.token.cancel_with(Reason::SiblingFailed);
    }

    /// The next in line, for a thread that has ended a child.
    fn next(&self) -> Option<(SyncChild<'scope>, Values)> {
        let mut line = lock(&self.line);
        let next = line.waiting.pop_front();
        let mut host = None;
        if next.is_none() {
            line.taken -= 1;
            host = line.host.take();
        }
        drop(line);
        host.into_iter().for_each(Waker::wake);
        next
    }
}

struct Spawner<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    shared: Arc<Shared<'scope>>,
}

impl<'scope> SyncSpawn<'scope> for Spawner<'scope, '_> {
    fn spawn(&self, child: SyncChild<'scope>) {
        let shared = self.shared.clone();
        let bug = shared.outcome.bug;
        let child = (child, shared.outcome.token.attach(Values::current()));
        if bug == Bug::SyncOneAfterTheOther {
            return shared.run(child);
        }
        let mut line = lock(&shared.line);
        if line.taken >= line.limit && bug != Bug::SyncLimitIgnored {
            line.waiting.push_back(child);
            return;
        }
        line.taken += 1;
        drop(line);
        self.scope.spawn(move || {
            let mut next = Some(child);
            while let Some(child) = next {
                shared.run(child);
                next = shared.next();
            }
        });
    }
}
