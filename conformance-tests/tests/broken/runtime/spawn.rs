//! Spawning: from a future to a task.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use fourway_adapt::{
    self as adapt, BoxFuture,
    fork::{self, Process},
};
use fourway_core::{
    JoinError, Spawner,
    context::{self, Context as Code},
    implement,
    task::Metadata,
};

use crate::bugs::Bug;

use super::{
    ALIVE, Broken, INLINE, ON_WORKER, POLLING, SPAWNING,
    cell::{Cell, CellState, End, Run},
    enter,
    join::{Join, payload_of},
    lock,
    task::BrokenTask,
};

impl Spawner for Broken {
    type Task<T: Send + 'static> = BrokenTask<T>;

    fn runtime_id(&self) -> Option<implement::RuntimeId> {
        let id = self.shared.registration.id();
        (!self.shared.inner.is(Bug::InPlaceUnmarked)).then_some(id)
    }

    fn spawn_with<F>(&self, metadata: Metadata, future: F) -> BrokenTask<F::Output>
    where
        F: IntoFuture<Output: Send + 'static, IntoFuture: Send + 'static>,
    {
        let future = future.into_future();
        let inner = &self.shared.inner;
        let bug = inner.bug;
        let own = self.shared.registration.id();
        let id = Some(own);
        enter(bug);
        self.check_context();
        let spawning = (bug == Bug::WakesUnderLock).then(|| lock(&SPAWNING));
        drop(spawning);
        let polling = (bug == Bug::SpawnNeedsPollLock).then(|| lock(&POLLING));
        drop(polling);
        let mut join = Join::new(bug);
        let mut task = BrokenTask {
            cell: None,
            join: join.clone(),
            start: None,
            weak: Weak::new(),
            id: own,
            metadata: match bug {
                Bug::MetadataOfWrapper => Metadata::caller(),
                _ => metadata,
            },
            process: Process::this(),
            polled: false,
            done: false,
        };
        if self.is_inherited() && bug != Bug::ForkedSpawnQueues {
            adapt::discard(future);
            join.fill(Err(fork::error(&task.metadata)));
            return task;
        }
        let size = size_of::<F>();
        let large = size.max(size_of::<F::Output>()) >= 16 * 1024;
        if bug == Bug::LargeRefused && large
            || bug == Bug::ZeroSizedLost && size == 0
            || bug == Bug::TableFull && count() > 600
        {
            drop(future);
            join.fill(Err(JoinError::shutdown()));
            return task;
        }
        let end = {
            let join = join.clone();
            move |future: Option<BoxFuture>, reason: End| {
                if reason == End::Shutdown && bug == Bug::ShutdownSeenEarly {
                    join.fill(Err(JoinError::shutdown()));
                    thread::sleep(Duration::from_millis(20));
                }
                let mark = (bug != Bug::NoMarkInDrop).then(|| implement::enter(Code::Async, id));
                let destroyed = match bug {
                    Bug::DestroyUnderLock => {
                        let _state = lock(&join.state);
                        catch_unwind(AssertUnwindSafe(|| drop(future)))
                    }
                    Bug::DestructorPanicAborts => {
                        if catch_unwind(AssertUnwindSafe(|| drop(future))).is_err() {
                            std::process::abort();
                        }
                        Ok(())
                    }
                    _ => catch_unwind(AssertUnwindSafe(|| drop(future))),
                };
                drop(mark);
                let reason = match (reason, bug) {
                    (End::Shutdown, Bug::ShutdownLooksCancelled) => JoinError::cancelled(),
                    (End::Shutdown, _) => JoinError::shutdown(),
                    (End::Cancelled, Bug::CancelledLooksShutDown) => JoinError::shutdown(),
                    (End::Cancelled, _) => JoinError::cancelled(),
                };
                join.fill(match destroyed {
                    Err(_) if bug == Bug::DestructorPanicLost => Err(reason),
                    Err(payload) => payload_of(bug, payload),
                    Ok(()) => Err(reason),
                });
            }
        };
        if lock(&inner.state).closing {
            match bug {
                Bug::SpawnAfterShutdownPanics => panic!("the runtime is shut down"),
                Bug::SpawnAfterShutdownHangs => drop(future),
                Bug::SpawnAfterShutdownLeaks => {
                    std::mem::forget(future);
                    join.fill(Err(JoinError::shutdown()));
                }
                _ => end(
                    Some(Box::pin(async move { drop(future.await) })),
                    End::Shutdown,
                ),
            }
            return task;
        }
        if bug == Bug::SlabOverflows {
            join = slab_entry(join);
        }
        let aborted = Arc::new(AtomicBool::new(false));
        let runner: BoxFuture = Box::pin(Runner {
            future: Some(Box::pin(future)),
            join,
            aborted: aborted.clone(),
            bug,
            id,
        });
        let cell = Arc::new(Cell {
            inner: inner.clone(),
            state: Mutex::new(CellState {
                future: Some(runner),
                run: Run::Queued,
                extra: 0,
            }),
            aborted,
            polls: AtomicUsize::new(0),
            waking: AtomicUsize::new(0),
            end: Box::new(end),
        });
        {
            let mut state = lock(&inner.state);
            state.tasks.retain(|task| task.strong_count() > 0);
            state.tasks.push(Arc::downgrade(&cell));
            if matches!(bug, Bug::LostTaskKept | Bug::OneWakerForAll) {
                state.kept.push(cell.clone());
            }
        }
        if bug == Bug::HandleDoesNotKeep {
            task.weak = Arc::downgrade(&cell);
        } else {
            task.cell = Some(cell.clone());
        }
        match bug {
            Bug::ProducersRace if !ON_WORKER.get() => {
                static INSIDE: AtomicUsize = AtomicUsize::new(0);
                let others = INSIDE.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_micros(200));
                INSIDE.fetch_sub(1, Ordering::SeqCst);
                if others == 0 {
                    inner.push(cell);
                }
            }
            Bug::TaskDiesWithThread if !ON_WORKER.get() => {
                let alive = ALIVE.try_with(|alive| alive.0.clone()).ok();
                let inner = inner.clone();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(5));
                    if alive.is_some_and(|alive| alive.load(Ordering::SeqCst)) {
                        inner.push(cell);
                    } else {
                        cell.destroy();
                    }
                });
            }
            Bug::PollsInlineAtSpawn => {
                cell.run();
            }
            Bug::LazySpawn => task.start = Some(inner.clone()),
            _ => inner.push(cell),
        }
        task
    }
}

/// How often it has been called.
pub(super) fn count() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    COUNT.fetch_add(1, Ordering::SeqCst) + 1
}

/// For [`Bug::SlabOverflows`]: the place for a task's result, which may be another task's.
fn slab_entry<T: Send + 'static>(join: Arc<Join<T>>) -> Arc<Join<T>> {
    static SLAB: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());
    let mut slab = lock(&SLAB);
    slab.push(Box::new(Arc::downgrade(&join)));
    let same = slab.len().checked_sub(129).map(|at| &slab[at]);
    let taken = same.and_then(|entry| entry.downcast_ref::<Weak<Join<T>>>()?.upgrade());
    taken
        .filter(|taken| !lock(&taken.state).finished)
        .unwrap_or(join)
}

impl Broken {
    /// Bugs that depend on the caller's context.
    pub(super) fn check_context(&self) {
        let bug = self.shared.inner.bug;
        let current = context::current();
        let own = implement::runtime_id() == Some(self.shared.registration.id());
        let wrong = match bug {
            Bug::ForeignAsyncRefused => current == Code::Async && !own,
            Bug::SpawnOnlyOnWorkers => current == Code::Async && own && !ON_WORKER.get(),
            Bug::NoSpawnInClosure => current == Code::Blocking && own,
            _ => false,
        };
        assert!(!wrong, "called from the wrong context");
    }
}

/// Polls the user's future, and leaves the result in the `Join`.
struct Runner<F: Future> {
    pub(super) future: Option<Pin<Box<F>>>,
    pub(super) join: Arc<Join<F::Output>>,
    pub(super) aborted: Arc<AtomicBool>,
    pub(super) bug: Bug,
    pub(super) id: Option<implement::RuntimeId>,
}

impl<F: Future> Future for Runner<F>
where
    F::Output: Send + 'static,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let bug = self.bug;
        let _mark = match bug {
            Bug::NoMarkInTask => None,
            _ => Some(implement::enter(Code::Async, self.id)),
        };
        let Some(future) = self.future.as_mut() else {
            return Poll::Ready(());
        };
        let uncaught = bug == Bug::PanicReachesWaker && INLINE.get();
        let polled = if bug == Bug::PanicKillsWorker || uncaught {
            Ok(future.as_mut().poll(cx))
        } else {
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)))
        };
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => {
                if bug == Bug::HookRunsTwice {
                    let text = JoinError::panicked(payload);
                    let again = catch_unwind(AssertUnwindSafe(|| panic!("{text}")));
                    return self.ready(payload_of(bug, again.unwrap_err()));
                }
                if bug == Bug::CancelCoversPanic && self.aborted.load(Ordering::SeqCst) {
                    return self.ready(Err(JoinError::cancelled()));
                }
                if bug == Bug::PanicSeenEarly {
                    self.join.fill(Err(JoinError::panicked(payload)));
                    thread::sleep(Duration::from_millis(20));
                    return self.ready(Err(JoinError::cancelled()));
                }
                return self.ready(payload_of(bug, payload));
            }
        };
        match result {
            Ok(output) if bug == Bug::JoinBeforeDestroy => {
                self.join.fill(Ok(output));
                thread::sleep(Duration::from_millis(20));
                self.future = None;
                Poll::Ready(())
            }
            result => self.ready(result),
        }
    }
}

impl<F: Future> Runner<F> {
    fn ready(&mut self, result: Result<F::Output, JoinError>) -> Poll<()> {
        if self.bug == Bug::FutureKeptByWaker {
            self.join.fill(result);
            return Poll::Ready(());
        }
        let destroyed = catch_unwind(AssertUnwindSafe(|| self.future = None));
        self.join.fill(match (result, destroyed) {
            (result, Ok(())) => result,
            (Ok(output), Err(payload)) if self.bug == Bug::LatePanicLost => {
                adapt::discard(payload);
                Ok(output)
            }
            (Ok(output), Err(payload)) => {
                adapt::discard(output);
                payload_of(self.bug, payload)
            }
            (Err(first), Err(second)) => {
                adapt::discard(second);
                Err(first)
            }
        });
        Poll::Ready(())
    }
}
