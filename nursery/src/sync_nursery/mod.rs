//! Nurseries for sync code: [`SyncNursery`], on threads that may borrow.

mod collect;
mod handle;
mod line;
mod outcomes;
mod results;
mod run;
mod sink;
mod wait;

use std::{
    borrow::Cow,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, Scope},
};

use fourway_core::{
    JoinError, Runtime,
    cancel::{CancellationToken, Reason},
    implement::{self, Slot},
    task::Metadata,
};

use crate::{
    NurseryError, SpawnError, SyncBuilder,
    error::{Failure, Refusal},
    label::Label,
    spawned,
    sync::{Mutex, lock},
};

use self::{
    handle::HandleSink,
    line::{Job, SyncShared, Turn},
    sink::{NoSink, SyncOutcome, SyncSink},
};

pub use self::{collect::SyncCollect, handle::SyncHandle, results::SyncResults};
pub(crate) use self::{
    collect::{Kept, Outputs},
    run::{Ran, SyncSettings, refusal, run},
};

/// Runs `body` together with the threads that it spawns, and returns when all have ended.
///
/// The sync counterpart of [`nursery`](crate::nursery()), on
/// [`std::thread::scope`]: children may borrow what lives longer than the call. All are joined,
/// also if the body or a child panics. The first failure cancels the others' token, which is
/// the current one in each of them; nothing can stop a thread that does not look at it. For
/// limits, deadlines and policies see [`SyncNursery::builder`].
///
/// Works on any thread that may block; in an offloaded closure too, with a pool of one, for its
/// threads are not the pool's.
///
/// If the body forks, the nursery does not end in the child of the fork, for it waits for threads
/// that are not there: let the child exec or exit.
///
/// # Errors
///
/// See [`NurseryError`]. On a thread that runs async code, which it would block,
/// [`is_refused`](NurseryError::is_refused): the body was not called. Use
/// [`SyncBuilder::offloaded`] there.
///
/// # Examples
///
/// ```
/// # use fourway_core::Runtime;
/// use fourway_nursery::{NurseryError, sync_nursery};
///
/// fn sum<R: Runtime>(rt: &R, numbers: &[u64]) -> Result<u64, NurseryError<String>> {
///     let (left, right) = numbers.split_at(numbers.len() / 2);
///     sync_nursery(rt, |n| {
///         let left = n.spawn_handle(|| Ok(left.iter().sum::<u64>()));
///         let right: u64 = right.iter().sum();
///         Ok(left.join().unwrap_or(0) + right)
///     })
/// }
/// ```
pub fn sync_nursery<'env, R, T, E>(
    runtime: &R,
    body: impl for<'scope> FnOnce(SyncNursery<'scope, 'env, E>) -> Result<T, E>,
) -> Result<T, NurseryError<E>>
where
    R: Runtime,
    E: Send + 'static,
{
    SyncNursery::builder(runtime).run(body)
}

/// A nursery of threads, as its body and its children see it. A clone is the same nursery.
pub struct SyncNursery<'scope, 'env, E> {
    scope: &'scope Scope<'scope, 'env>,
    shared: Arc<SyncShared<'scope, E>>,
    label: Label,
    /// Children get the context that is current where they are spawned.
    with_context: bool,
}

impl<'scope, 'env, E: Send + 'static> SyncNursery<'scope, 'env, E> {
    /// A sync nursery with a policy, a limit or a deadline.
    pub fn builder<R: Runtime>(runtime: &R) -> SyncBuilder<'_, R, E> {
        SyncBuilder::new(runtime)
    }

    /// Starts `closure` as a child on a thread: at once, or when a place of the
    /// [limit](SyncBuilder::limit) is free.
    ///
    /// Never blocks. In a nursery that is being cancelled the closure is dropped, and counted
    /// as cancelled. If the system gives no thread, that is a failure of the child.
    #[track_caller]
    pub fn spawn<F, T>(&self, closure: F)
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawn_into(closure, NoSink);
    }

    /// [`spawn`](Self::spawn), with a handle for the output.
    #[track_caller]
    pub fn spawn_handle<F, T>(&self, closure: F) -> SyncHandle<T, E>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        let slot = Arc::new(Slot::new());
        self.spawn_into(closure, HandleSink(slot.clone()));
        SyncHandle {
            slot,
            outcome: self.shared.outcome.clone(),
        }
    }

    /// [`spawn`](Self::spawn), unless all places are taken.
    ///
    /// # Errors
    ///
    /// Gives `closure` back, unrun, if no place is free or the nursery is being cancelled.
    #[track_caller]
    pub fn try_spawn<F, T>(&self, closure: F) -> Result<(), SpawnError<F>>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        let refused = |refusal, work| Err(SpawnError { refusal, work });
        if self.shared.outcome.token.is_cancelled() {
            return refused(Refusal::Cancelled, closure);
        }
        let mut line = self.shared.lock();
        if line.taken >= line.limit {
            drop(line);
            return refused(Refusal::Full, closure);
        }
        line.taken += 1;
        line.spawned = true;
        drop(line);
        let job = self.job(self.label.caller(), closure, NoSink);
        self.give_thread(job);
        Ok(())
    }

    /// This nursery for children with a name. The [`JoinError`](fourway_core::JoinError)s of
    /// children that panic show it. Otherwise as [`Nursery::named`](crate::Nursery::named). Threads
    /// do not get the name, as each runs several children in turn.
    #[must_use]
    pub fn named(&self, name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            label: Label::new(name),
            ..self.clone()
        }
    }

    /// This nursery for children without context: no values, no current token, no span. While they
    /// are in line, they are cancelled as all others are, but
    /// [`cancel::check`](fourway_core::cancel::check) in them says nothing.
    #[must_use]
    pub fn without_context(&self) -> Self {
        Self {
            with_context: false,
            ..self.clone()
        }
    }

    /// Outputs one by one, as the children finish that are spawned through the returned value.
    #[must_use]
    pub fn results<T: Send + 'scope>(&self) -> SyncResults<'scope, 'env, T, E> {
        SyncResults::new(self.clone())
    }

    /// Cancels the children: the nursery ends with what it has. That is no error.
    pub fn cancel(&self) {
        self.shared.cancel(Reason::NotNeeded);
    }

    /// Changes the limit. A higher one starts waiting children, in order; a lower one takes effect
    /// as children end.
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    #[track_caller]
    pub fn set_limit(&self, limit: usize) {
        assert!(
            limit > 0,
            "a nursery with a limit of zero would start nothing"
        );
        self.shared.lock().limit = limit;
        while let Some(job) = self.shared.granted() {
            self.give_thread(job);
        }
    }

    /// The token of the body and all children, in which it is the current one.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.shared.outcome.token
    }

    #[track_caller]
    pub(crate) fn spawn_into<F, T, S>(&self, closure: F, sink: S)
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        S: SyncSink<T, E> + 'scope,
    {
        let job = self.job(self.label.caller(), closure, sink);
        if self.shared.outcome.token.is_cancelled() {
            return job(Turn::Cancelled);
        }
        let mut line = self.shared.lock();
        line.spawned = true;
        if line.taken < line.limit {
            line.taken += 1;
            drop(line);
            self.give_thread(job);
        } else {
            line.waiting.push_back(job);
        }
    }

    fn job<F, T, S>(&self, metadata: Metadata, closure: F, sink: S) -> Job<'scope>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        S: SyncSink<T, E> + 'scope,
    {
        let shared = self.shared.clone();
        let carried = shared.carried(self.with_context);
        Box::new(move |turn| {
            let result = catch_unwind(AssertUnwindSafe(|| {
                spawned::within(&metadata, || {
                    if matches!(turn, Turn::Run) {
                        Some(carried.scope(closure))
                    } else {
                        carried.scope(|| drop(closure));
                        None
                    }
                })
            }));
            // It will be the same for all others, whatever the policy.
            let of_all = matches!(turn, Turn::Unstarted(_));
            let failed = |mut error: JoinError| {
                error.set_task(&metadata);
                SyncOutcome::Failed(Failure::Join(error))
            };
            let outcome = match result {
                Ok(None) => match turn {
                    Turn::Unstarted(error) => failed(JoinError::unstarted(error)),
                    Turn::Run | Turn::Cancelled => SyncOutcome::Cancelled(shared.outcome.reason()),
                },
                Ok(Some(Ok(output))) => SyncOutcome::Done(output),
                Ok(Some(Err(error))) => shared.outcome.failed_or_cancelled(error),
                Err(payload) => failed(JoinError::panicked(payload)),
            };
            let ends_it = sink.ends_it() && matches!(outcome, SyncOutcome::Done(_));
            let fail = |failure| shared.failed(failure, of_all);
            match sink.take(outcome, shared.outcome.supervise && !of_all, &fail) {
                SyncOutcome::Done(()) => {
                    if ends_it {
                        shared.cancel(Reason::NotNeeded);
                    }
                }
                SyncOutcome::Cancelled(_) => lock(&shared.outcome.ledger).cancelled += 1,
                SyncOutcome::Failed(failure) => shared.failed(failure, of_all),
            }
        })
    }

    /// Gives `job`, which has a place, a thread; the thread goes on with those in line.
    fn give_thread(&self, job: Job<'scope>) {
        let shared = self.shared.clone();
        // Both can reach it: without a thread it is ended here.
        let job = Arc::new(Mutex::new(Some(job)));
        let taken = job.clone();
        let thread = thread::Builder::new().name("fourway-nursery".into());
        let hosted = implement::host().map(|host| host.thread());
        let started = thread.spawn_scoped(self.scope, move || {
            // Dropped after what was moved in here, so that nothing is left to do but to end.
            let _turn = hosted.map(|thread| thread.begin());
            let (shared, taken) = (shared, taken);
            let mut next = lock(&taken).take();
            drop(taken);
            while let Some(job) = next {
                job(if shared.outcome.token.is_cancelled() {
                    Turn::Cancelled
                } else {
                    Turn::Run
                });
                next = shared.next();
            }
        });
        if let Err(error) = started {
            let job = lock(&job).take();
            self.without_thread(job, error);
        }
    }

    /// Ends `job`, for which the system has no thread, and those in line, which would have followed
    /// on that thread.
    fn without_thread(&self, job: Option<Job<'scope>>, error: io::Error) {
        let kind = error.kind();
        if let Some(job) = job {
            job(Turn::Unstarted(error));
        }
        let mut next = self.shared.next();
        while let Some(job) = next {
            // A reader of results decides about the failures of its children, so that they cancel
            // nothing. Then each of the others fails on its own: a child that was not run must not
            // pass for one that was cancelled.
            job(if self.shared.outcome.token.is_cancelled() {
                Turn::Cancelled
            } else {
                Turn::Unstarted(kind.into())
            });
            next = self.shared.next();
        }
    }
}

impl<E> Clone for SyncNursery<'_, '_, E> {
    fn clone(&self) -> Self {
        Self {
            scope: self.scope,
            shared: self.shared.clone(),
            label: self.label.clone(),
            with_context: self.with_context,
        }
    }
}

impl<E> fmt::Debug for SyncNursery<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncNursery")
            .field("token", &self.shared.outcome.token)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_without_a_thread_has_failed_once() {
        let rt = fourway_std_thread::StdThread::new().unwrap();
        for supervise in [false, true] {
            let mut builder = SyncNursery::<String>::builder(&rt);
            if supervise {
                builder = builder.supervise();
            }
            let result: Result<(), NurseryError<String>> = builder.run(|n| {
                let slot = Arc::new(Slot::new());
                let job = n.job(Metadata::caller(), || Ok(1), HandleSink(slot.clone()));
                job(Turn::Unstarted(io::ErrorKind::WouldBlock.into()));
                let outcome = n.shared.outcome.clone();
                let error = SyncHandle { slot, outcome }.join().unwrap_err();
                assert!(!error.is_cancelled(), "{error:?}");
                n.spawn(|| Ok(()));
                Ok(())
            });
            let error = result.unwrap_err();
            assert_eq!(error.failures().len(), 1, "{error:?}");
            assert_eq!(error.cancelled(), 1, "the one after it: {error:?}");
        }
    }

    /// The failure of the first goes to the reader, and cancels nothing.
    #[test]
    fn those_in_line_behind_a_result_without_a_thread_fail_too() {
        let rt = fourway_std_thread::StdThread::new().unwrap();
        for with_plain in [false, true] {
            let builder = SyncNursery::<String>::builder(&rt).limit(1);
            let result = builder.run(|n| {
                // The place of the child that gets no thread.
                n.shared.lock().taken = 1;
                let mut results = n.results();
                results.spawn(|| Ok(1));
                results.spawn(|| Ok(2));
                if with_plain {
                    n.spawn(|| Ok(3));
                    n.spawn(|| Ok(4));
                }
                let first = n.shared.lock().waiting.pop_front();
                n.without_thread(first, io::ErrorKind::WouldBlock.into());
                for _ in 0..2 {
                    let error = results.next().unwrap().unwrap_err();
                    assert!(!error.is_cancelled(), "{error:?}");
                }
                assert!(results.next().is_none());
                Ok(())
            });
            if with_plain {
                let error = result.unwrap_err();
                assert_eq!(error.failures().len(), 1, "{error:?}");
                assert_eq!(error.cancelled(), 1, "the one after it: {error:?}");
            } else {
                result.unwrap();
            }
        }
    }
}
