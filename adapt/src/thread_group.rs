use std::{
    fmt, io,
    sync::{Arc, PoisonError},
};

use crate::{
    check_stack_size,
    fork::Process,
    sync::{
        Condvar, Mutex, MutexGuard,
        thread::{self, JoinHandle, ThreadId},
    },
};

/// Threads that a runtime starts one by one, and waits for at its end.
///
/// The standard library says that a thread is finished before the destructors of its
/// thread-locals have run. So a handle cannot be forgotten then: a shutdown right afterwards would
/// say too early that all threads are gone ([orderly shutdown](fourway_core::contract#SH-1)). The
/// thread that starts another has no time to wait either. Here, a thread that ends joins those that
/// ended before it, and is itself joined by a later one or by [`join`](Self::join). So the group
/// holds no more handles than there are threads, and a few.
///
/// Clones are the same group. In a forked child, where the threads are not, joining does
/// nothing, and the handles are forgotten ([forked children](fourway_core::contract#FK-1)).
///
/// # Examples
///
/// ```
/// use fourway_adapt::ThreadGroup;
/// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
///
/// let (group, done) = (ThreadGroup::new(), Arc::new(AtomicU32::new(0)));
/// for number in 0..3 {
///     let done = done.clone();
///     group.spawn(format!("worker-{number}"), None, move || {
///         done.fetch_add(1, Ordering::Relaxed);
///     })?;
/// }
/// group.join();
/// assert_eq!(done.load(Ordering::Relaxed), 3);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct ThreadGroup(Arc<Shared>);

struct Shared {
    process: Process,
    threads: Mutex<Threads>,
    /// Signalled when a thread has been joined, or has left [`ThreadGroup::join`].
    joined: Condvar,
}

#[derive(Default)]
struct Threads {
    /// Threads that no thread joins yet.
    handles: Vec<JoinHandle<()>>,
    /// Threads that another thread is joining.
    awaited: Vec<ThreadId>,
    /// How many threads of the group are inside of [`ThreadGroup::join`]. Each holds its own handle
    /// meanwhile: no thread that it waits for can wait for it.
    inside: usize,
}

impl ThreadGroup {
    /// An empty group, for threads of this process.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            process: Process::this(),
            threads: Mutex::default(),
            joined: Condvar::new(),
        }))
    }

    /// Starts a thread that runs `life`, which must not panic. `stack_size` is in bytes;
    /// without one it is the standard library's.
    ///
    /// A [`join`](Self::join) that begins after `life` has told another thread of its end still
    /// waits for the thread.
    ///
    /// # Errors
    ///
    /// If the system has no thread, or as [`check_stack_size`]. `life` has been dropped.
    pub fn spawn(
        &self,
        name: String,
        stack_size: Option<usize>,
        life: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        check_stack_size(stack_size)?;
        let mut builder = thread::Builder::new().name(name);
        if let Some(bytes) = stack_size {
            builder = builder.stack_size(bytes);
        }
        // Kept here too: if no thread can be started, it is dropped outside of the lock.
        let life = Arc::new(Mutex::new(Some(life)));
        let (group, lived) = (self.clone(), life.clone());
        // Locked before the thread runs. Otherwise a caller that learns from it that it is about to
        // end, and joins, would not find it.
        let mut threads = self.0.lock();
        let thread = builder.spawn(move || {
            let life = lived.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(lived);
            if let Some(life) = life {
                life();
            }
            group.0.join_finished();
        });
        let started = thread.map(|thread| threads.handles.push(thread));
        drop(threads);
        started
    }

    /// Waits until all threads have ended, their thread-locals' destructors included. Call it after
    /// telling them to end. If several threads call it at once, each waits until all threads of
    /// the group have ended.
    ///
    /// There is no deadline, because no system can join a thread with a deadline. A thread that has
    /// been told to end has only its last instructions and the destructors of the user's
    /// thread-locals left.
    ///
    /// A thread of the group does not wait for itself, nor for threads that are waiting for it. A
    /// thread waits for itself when a destructor of one of its thread-locals comes here. If
    /// another thread is joining it already, it returns at once; the other one waits for the rest.
    /// This holds within a group: threads of two groups whose destructors join each other's group
    /// wait without end.
    pub fn join(&self) {
        if !self.0.process.is_this() {
            return;
        }
        let me = thread::current().id();
        let mut threads = self.0.lock();
        if threads.awaited.contains(&me) {
            return;
        }
        let mine = (threads.handles.iter()).position(|thread| thread.thread().id() == me);
        // From here on no thread can wait for this one. So a thread that is being joined does not
        // wait in here, and threads that wait in here do not wait for each other.
        let mine = mine.map(|at| threads.handles.swap_remove(at));
        threads.inside += usize::from(mine.is_some());
        loop {
            let handles = std::mem::take(&mut threads.handles);
            if !handles.is_empty() {
                self.0.join_all(threads, handles);
                threads = self.0.lock();
            } else if !threads.awaited.is_empty() || (mine.is_none() && threads.inside > 0) {
                let waited = self.0.joined.wait(threads);
                threads = waited.unwrap_or_else(PoisonError::into_inner);
            } else {
                break;
            }
        }
        if let Some(mine) = mine {
            threads.inside -= 1;
            threads.handles.push(mine);
            drop(threads);
            self.0.joined.notify_all();
        }
    }
}

impl Default for ThreadGroup {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ThreadGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadGroup").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Threads> {
        // No user code runs under the lock, so that nothing can poison it.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the threads that have ended before. On a thread that ends, which is in the list
    /// itself: its waiter waits for these too.
    fn join_finished(&self) {
        // Work may have forked: then this thread is all there is of the child, and the lock
        // may be held for ever.
        if !self.process.is_this() {
            return;
        }
        let mut threads = self.lock();
        let all = std::mem::take(&mut threads.handles);
        let (finished, others): (Vec<_>, _) = all.into_iter().partition(JoinHandle::is_finished);
        threads.handles = others;
        self.join_all(threads, finished);
    }

    /// Joins these threads, and notifies the waiters after each.
    fn join_all(&self, mut threads: MutexGuard<'_, Threads>, handles: Vec<JoinHandle<()>>) {
        let ids = handles.iter().map(|thread| thread.thread().id());
        threads.awaited.extend(ids);
        drop(threads);
        for thread in handles {
            let id = thread.thread().id();
            // Their lives do not panic. If one did, the panic hook has reported it.
            let _ = thread.join();
            self.lock().awaited.retain(|awaited| *awaited != id);
            self.joined.notify_all();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.process.is_this() {
            // Dropping a handle would detach its thread, which does not exist here.
            let threads = self.threads.get_mut();
            let threads = threads.unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::take(threads));
        }
    }
}

#[cfg(all(test, not(any(fourway_shuttle, fourway_loom))))]
mod tests {
    use std::{
        cell::RefCell,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
            mpsc,
        },
        thread,
        time::Duration,
    };

    use super::ThreadGroup;

    const DEADLINE: Duration = Duration::from_secs(60);

    struct OnDrop(Option<Box<dyn FnOnce()>>);

    impl Drop for OnDrop {
        fn drop(&mut self) {
            if let Some(f) = self.0.take() {
                f();
            }
        }
    }

    thread_local! {
        static LOCAL: RefCell<OnDrop> = const { RefCell::new(OnDrop(None)) };
    }

    /// A thread's destructor waits for the whole group, while another thread waits for it.
    #[test]
    fn a_destructor_joins_the_group() {
        let group = ThreadGroup::new();
        let (ending, ends) = mpsc::channel();
        let (go, waits) = mpsc::channel::<()>();
        let (joined, has_joined) = mpsc::channel();
        let this = group.clone();
        let first = move || {
            let destructor = move || {
                let _ = ending.send(());
                let _ = waits.recv_timeout(DEADLINE);
                this.join();
                let _ = joined.send(());
            };
            LOCAL.with_borrow_mut(|local| local.0 = Some(Box::new(destructor)));
        };
        group.spawn("first".to_owned(), None, first).unwrap();
        ends.recv_timeout(DEADLINE).unwrap();
        group.spawn("second".to_owned(), None, || ()).unwrap();
        let end = std::time::Instant::now() + DEADLINE;
        while group.0.lock().awaited.is_empty() {
            assert!(
                std::time::Instant::now() < end,
                "the second joins the first"
            );
            thread::yield_now();
        }
        go.send(()).unwrap();
        has_joined.recv_timeout(DEADLINE).expect("it does not hang");
        group.join();
        assert!(group.0.lock().awaited.is_empty());
    }

    /// A thread of the group in the destructor of one of its thread-locals, which has called `first`
    /// and waits to be let go. Says whether it has ended.
    fn ending(
        group: &ThreadGroup,
        first: impl FnOnce() + Send + 'static,
    ) -> (mpsc::Sender<()>, Arc<AtomicBool>) {
        let (ending, ends) = mpsc::channel();
        let (go, waits) = mpsc::channel::<()>();
        let destroyed = Arc::new(AtomicBool::new(false));
        let done = destroyed.clone();
        let life = move || {
            let destructor = move || {
                first();
                let _ = ending.send(());
                let _ = waits.recv_timeout(DEADLINE);
                done.store(true, Ordering::Release);
            };
            LOCAL.with_borrow_mut(|local| local.0 = Some(Box::new(destructor)));
        };
        group.spawn("ending".to_owned(), None, life).unwrap();
        ends.recv_timeout(DEADLINE).unwrap();
        (go, destroyed)
    }

    /// The second of two waiters has no threads to join, and must not return before all have
    /// ended.
    #[test]
    fn two_who_join_both_wait() {
        let group = ThreadGroup::new();
        let (go, destroyed) = ending(&group, || ());
        let joiners: Vec<_> = (0..3)
            .map(|_| {
                let (group, destroyed) = (group.clone(), destroyed.clone());
                thread::spawn(move || {
                    group.join();
                    destroyed.load(Ordering::Acquire)
                })
            })
            .collect();
        let end = std::time::Instant::now() + DEADLINE;
        while group.0.lock().awaited.is_empty() {
            assert!(std::time::Instant::now() < end, "one of them joins it");
            thread::yield_now();
        }
        // Time in which a joiner that does not wait would return.
        thread::sleep(Duration::from_millis(50));
        go.send(()).unwrap();
        for joiner in joiners {
            assert!(joiner.join().unwrap(), "it was not waited for");
        }
    }

    /// A later waiter waits for a thread that joins the others in its destructor.
    #[test]
    fn a_destructor_that_joins_is_waited_for() {
        let group = ThreadGroup::new();
        let this = group.clone();
        let (go, destroyed) = ending(&group, move || this.join());
        let opener = thread::spawn(move || {
            // Time in which a `join` that does not wait would return.
            thread::sleep(Duration::from_millis(50));
            go.send(()).unwrap();
        });
        group.join();
        assert!(destroyed.load(Ordering::Acquire), "it was not waited for");
        opener.join().unwrap();
    }

    /// However many threads there have been, few handles are kept.
    #[test]
    fn threads_that_have_ended_are_not_kept() {
        let group = ThreadGroup::new();
        for _ in 0..100 {
            let (done, is_done) = mpsc::channel::<()>();
            group
                .spawn("brief".to_owned(), None, || drop(done))
                .unwrap();
            is_done.recv_timeout(DEADLINE).unwrap_err();
            let finished = || {
                let threads = group.0.lock();
                threads.handles.iter().all(|thread| thread.is_finished())
            };
            let end = std::time::Instant::now() + DEADLINE;
            while !finished() {
                assert!(std::time::Instant::now() < end, "it ends");
                thread::yield_now();
            }
        }
        assert_eq!(group.0.lock().handles.len(), 1);
        group.join();
    }
}
