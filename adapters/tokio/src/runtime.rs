use std::{
    collections::HashMap,
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fourway_adapt::{
    fork::{ForgetInChild, PerProcess, Process},
    pool::{Pool, PoolBuilder},
};
use fourway_core::{
    AnyRuntime, Task as _,
    implement::{self, Extensions, Registration, RuntimeId},
};
use tokio::{
    runtime::{Handle, Runtime, RuntimeFlavor},
    task::AbortHandle,
};

use crate::{
    Builder,
    offload::{BlockingThreads, Chosen},
    probe,
    shutdown::{DriverThread, Native, ThreadCount},
    timer::Clock,
    wakers,
};

/// A handle on a Tokio runtime.
///
/// A clone is another handle on the same runtime. See the [crate docs](crate) for
/// what runs where, for the differences between flavours, and for what dropping
/// the last handle does.
#[derive(Clone)]
pub struct Tokio {
    pub(crate) shared: Arc<ForgetInChild<Shared>>,
    pub(crate) drive_timeout: Duration,
}

// A panic of a task, a closure or a future in `block_on` leaves the runtime as it was: no foreign code
// runs under its locks. Said here because it keeps closures and wakers of others.
impl std::panic::UnwindSafe for Tokio {}
impl std::panic::RefUnwindSafe for Tokio {}

pub(crate) struct Shared {
    pub(crate) handle: Handle,
    pub(crate) pool: Pool,
    /// The runtime itself, if it is ours.
    pub(crate) native: Option<Native>,
    /// Closed before the native runtime goes.
    pub(crate) clock: Arc<ForgetInChild<Clock>>,
    pub(crate) extensions: Extensions,
    registration: Registration,
    /// The task that tells of the end of a foreign runtime, if it does not hold this.
    told_by: OnceLock<AbortHandle>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.clock.close();
        self.extensions.close();
        if let Some(told_by) = self.told_by.get().cloned() {
            if self.pool.status().queued > 0 {
                // The detached closures before it have begun when this one runs; with it goes the pool's
                // last handle. The task stays until then: if the runtime ends, it drops the queue.
                let pool = self.pool.clone();
                let last = self.pool.offload(move || {
                    told_by.abort();
                    pool.close();
                });
                return last.detach();
            }
            told_by.abort();
        }
        self.pool.close();
        if let Some(native) = &self.native {
            native.end_in_background();
        }
    }
}

/// How the offload pool is set up.
#[derive(Clone, Debug)]
pub(crate) struct Offloading {
    pub(crate) limit: usize,
    pub(crate) queue: Option<usize>,
    pub(crate) keep_alive: Duration,
    /// Nothing, if the runtime was configured elsewhere.
    pub(crate) threads: Chosen,
}

/// How long the pool keeps an idle thread of a runtime that was configured elsewhere. After that
/// Tokio keeps it, for as long as it was told to. Raw `spawn_blocking` cannot have a thread that
/// idles in our pool, and there may be few threads.
pub(crate) const LINGER: Duration = Duration::from_millis(100);

impl Default for Offloading {
    fn default() -> Self {
        Self {
            limit: 512,
            queue: None,
            keep_alive: LINGER,
            threads: Chosen::default(),
        }
    }
}

impl Offloading {
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.limit == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the offload limit must be at least 1: with 0, no closure could ever run",
            ));
        }
        Ok(())
    }
}

/// As [`Tokio::from_handle`].
impl From<Handle> for Tokio {
    fn from(handle: Handle) -> Self {
        Self::from_handle(handle)
    }
}

/// As [`AnyRuntime::new`].
impl From<Tokio> for AnyRuntime {
    fn from(runtime: Tokio) -> Self {
        Self::new(runtime)
    }
}

impl Tokio {
    /// A multi-thread runtime with the default settings: a worker for each core, all drivers on.
    ///
    /// # Errors
    ///
    /// If the system cannot start the worker threads.
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// Takes a runtime over. It is shut down with the last handle.
    ///
    /// A current-thread runtime gets a thread that drives it. If a shutdown of such a runtime was not
    /// clean when its time was over, later ones are not either: Tokio waits for its blocking threads
    /// once. While closures run that were offloaded here, a shutdown does not have Tokio wait, since
    /// they may wait for its tasks: then it knows of these closures, and not of raw `spawn_blocking`
    /// threads.
    ///
    /// [`Builder::build_from_runtime`] is the same with settings for offloading.
    ///
    /// # Errors
    ///
    /// If that thread cannot be started; the runtime is then shut down in the
    /// background.
    pub fn from_runtime(runtime: Runtime) -> io::Result<Self> {
        Self::builder().build_from_runtime(runtime)
    }

    /// A handle on a runtime that other code owns.
    ///
    /// It shares an offload pool, with the default limits, with all other handles
    /// that were made this way for that runtime; the pool goes with the runtime.
    ///
    /// For a current-thread runtime, see the [crate docs](crate): a thread has to drive it.
    #[must_use]
    #[allow(
        clippy::missing_panics_doc,
        reason = "making the pool fails on a limit of zero only, and the default is not zero"
    )]
    pub fn from_handle(handle: Handle) -> Self {
        attach_shared(handle).expect("the default limits are valid")
    }

    /// A handle on the runtime that the calling thread is in.
    ///
    /// # Errors
    ///
    /// If it is in none.
    pub fn try_current() -> Result<Self, NoRuntime> {
        match Handle::try_current() {
            Ok(handle) => Ok(Self::from_handle(handle)),
            Err(_) => Err(NoRuntime(())),
        }
    }

    /// A handle on the runtime that the calling thread is in.
    ///
    /// # Panics
    ///
    /// If it is in none.
    #[must_use]
    #[track_caller]
    pub fn current() -> Self {
        match Self::try_current() {
            Ok(runtime) => runtime,
            Err(error) => panic!("{error}"),
        }
    }

    /// Configures a new runtime, multi-thread unless told otherwise.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// How long `block_on` waits for a sign that a thread drives a foreign current-thread runtime,
    /// before it gives [`is_not_driven`](fourway_core::BlockOnError::is_not_driven). Default: 10
    /// seconds. Of no effect on other runtimes.
    #[must_use]
    pub fn with_drive_timeout(mut self, timeout: Duration) -> Self {
        self.drive_timeout = timeout;
        self
    }

    /// The native handle.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.shared.handle
    }

    /// Is this a forked child of the process that the runtime is of? Then nothing of it is
    /// touched: its threads are not here, and its locks may be held for ever (FK-1, forked
    /// children).
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        ForgetInChild::is_inherited(&self.shared)
    }

    fn over(shared: Arc<ForgetInChild<Shared>>) -> Self {
        Self {
            shared,
            drive_timeout: Duration::from_secs(10),
        }
    }

    #[inline]
    pub(crate) fn id(&self) -> RuntimeId {
        self.shared.registration.id()
    }

    pub(crate) fn is_current_thread(&self) -> bool {
        self.shared.handle.runtime_flavor() == RuntimeFlavor::CurrentThread
    }
}

type Known = HashMap<tokio::runtime::Id, Weak<ForgetInChild<Shared>>>;

/// The data of each runtime, by Tokio's number for it.
fn known() -> MutexGuard<'static, Known> {
    static KNOWN: PerProcess<Mutex<Known>> = PerProcess::new();
    let known = KNOWN.get_or_init(Mutex::default);
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the data found by [`attach_shared`], until they are gone.
fn remember(known: &mut Known, handle: &Handle, shared: &Arc<ForgetInChild<Shared>>) {
    // Otherwise the entries of runtimes that are gone, and their memory, would add up.
    known.retain(|_, shared| shared.strong_count() > 0);
    known.insert(handle.id(), Arc::downgrade(shared));
}

/// The process that a runtime is of: this one, or one that is gone.
///
/// Tokio does not say. But it numbers its runtimes: a number that was in use before the fork
/// belongs to a runtime from before the fork. A runtime from before the fork that fourway had not
/// met there counts as one of this process.
fn process_of(handle: &Handle) -> Process {
    /// The highest number met so far.
    static NEWEST: AtomicU64 = AtomicU64::new(0);
    /// Of those, the highest from before this process.
    static BEFORE: PerProcess<u64> = PerProcess::new();
    // Relaxed: a child has one thread when it begins.
    let before = *BEFORE.get_or_init(|| NEWEST.load(Ordering::Relaxed));
    let Ok(number) = handle.id().to_string().parse() else {
        // Tokio has changed how it numbers.
        return Process::this();
    };
    NEWEST.fetch_max(number, Ordering::Relaxed);
    if number > before {
        Process::this()
    } else {
        Process::GONE
    }
}

/// Uses a runtime of fourway's, or one that other code owns: with the pool that all such
/// handles share.
fn attach_shared(handle: Handle) -> io::Result<Tokio> {
    let shared = {
        // Held while it is made, so that two who come at the same moment share one. No user code
        // runs under it.
        let mut known = known();
        if let Some(shared) = known.get(&handle.id()).and_then(Weak::upgrade) {
            drop(known);
            return Ok(Tokio::over(shared));
        }
        let shared = prepare(&handle, Offloading::default())?;
        remember(&mut known, &handle, &shared);
        shared
    };
    Ok(keep(&handle, shared))
}

/// Uses a runtime that other code owns, with a pool of its own, which is not found by
/// [`attach_shared`]: its limits are not those that other code expects.
pub(crate) fn attach(handle: &Handle, offload: Offloading) -> io::Result<Tokio> {
    let shared = prepare(handle, offload)?;
    if ForgetInChild::is_inherited(&shared) {
        return Ok(keep(handle, shared));
    }
    // Without the data, which would stay for as long as the runtime if each library made a pool of its
    // own for each of its calls.
    let parts = Parts {
        clock: shared.clock.clone(),
        extensions: shared.extensions.clone(),
        pool: shared.pool.clone(),
    };
    let _ = shared.told_by.set(until_the_end(handle, parts));
    Ok(Tokio::over(shared))
}

/// Has `kept` live as long as the runtime, unless the task that holds it is aborted. Tokio destroys
/// tasks first of all.
fn until_the_end(handle: &Handle, kept: impl Send + 'static) -> AbortHandle {
    let task = handle.spawn(async move {
        let _kept = kept;
        std::future::pending::<()>().await;
    });
    task.abort_handle()
}

/// What has to be closed when the runtime ends.
struct Parts {
    clock: Arc<ForgetInChild<Clock>>,
    extensions: Extensions,
    pool: Pool,
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.clock.close();
        self.extensions.close();
        self.pool.close();
    }
}

fn prepare(handle: &Handle, offload: Offloading) -> io::Result<Arc<ForgetInChild<Shared>>> {
    probe::install_probe();
    make(process_of(handle), handle.clone(), None, offload)
}

/// Keeps the data for as long as the runtime lives.
fn keep(handle: &Handle, shared: Arc<ForgetInChild<Shared>>) -> Tokio {
    if ForgetInChild::is_inherited(&shared) {
        // Nothing of it is dropped here, so one for each question would add up. This one stays, and
        // is found from now on.
        std::mem::forget(shared.clone());
        return Tokio::over(shared);
    }
    // Pool and number must live as long as the runtime, however short the lives of the handles: a
    // detached closure in the queue must not be lost. They must not live longer: a dropped runtime
    // waits for its blocking threads, also for those that are idle in the pool.
    until_the_end(handle, Keep(shared.clone()));
    Tokio::over(shared)
}

/// Lives as long as the runtime.
struct Keep(Arc<ForgetInChild<Shared>>);

impl Drop for Keep {
    fn drop(&mut self) {
        self.0.clock.close();
        self.0.extensions.close();
        self.0.pool.close();
    }
}

/// Takes over a native runtime.
pub(crate) fn own(
    runtime: Runtime,
    driver: DriverThread,
    offload: Offloading,
    threads: Option<Arc<ThreadCount>>,
) -> io::Result<Tokio> {
    probe::install_probe();
    let handle = runtime.handle().clone();
    if process_of(&handle) == Process::GONE {
        // To drop it would wait for threads that are the parent's.
        std::mem::forget(runtime);
        return Ok(Tokio::over(make(Process::GONE, handle, None, offload)?));
    }
    let native = Native::new(runtime, driver, threads)?;
    let shared = make(Process::this(), handle.clone(), Some(native), offload)?;
    remember(&mut known(), &handle, &shared);
    Ok(Tokio::over(shared))
}

fn make(
    process: Process,
    handle: Handle,
    native: Option<Native>,
    offload: Offloading,
) -> io::Result<Arc<ForgetInChild<Shared>>> {
    // The registry must be able to make a handle, and the handle must know its
    // number in the registry: tie the knot through a weak reference.
    let home: Arc<OnceLock<Weak<ForgetInChild<Shared>>>> = Arc::default();
    let registration = implement::register({
        let home = home.clone();
        move || Some(AnyRuntime::new(Tokio::over(home.get()?.upgrade()?)))
    });
    let pool = PoolBuilder::default()
        .limit(offload.limit)
        .queue_bound(offload.queue)
        .keep_alive(offload.keep_alive)
        .runtime(Some(registration.id()))
        .process(process)
        .build(BlockingThreads::new(handle.clone(), offload.threads))?;
    // Before the first timer or socket.
    wakers::learn();
    let extensions = Extensions::of(process);
    // For crates that need Tokio itself: its reactor, for example.
    extensions.get_or_insert_with(|| handle.clone());
    let shared = Shared {
        clock: Arc::new(ForgetInChild::of(process, Clock::new(handle.clone()))),
        handle,
        pool,
        native,
        extensions,
        registration,
        told_by: OnceLock::new(),
    };
    let shared = Arc::new(ForgetInChild::of(process, shared));
    let _ = home.set(Arc::downgrade(&shared));
    Ok(shared)
}

impl fmt::Debug for Tokio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokio")
            .field("flavor", &self.shared.handle.runtime_flavor())
            .field("owned", &self.shared.native.is_some())
            .field("pool", &self.shared.pool)
            .finish_non_exhaustive()
    }
}

/// The calling thread is in no Tokio runtime.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NoRuntime(());

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this thread is in no Tokio runtime: call it inside `#[tokio::main]` or a task, enter \
             a runtime with `Handle::enter`, or make one with `Tokio::builder()`",
        )
    }
}

impl fmt::Debug for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoRuntime")
    }
}

impl std::error::Error for NoRuntime {}

const _: fn() = || {
    fn handle<T: fourway_core::Runtime + fourway_core::Shutdown + fmt::Debug + Unpin>() {}
    fn shareable<T: Send + Sync + Unpin + fmt::Debug>() {}
    fn shareable_pinned<T: Send + Sync + fmt::Debug>() {}
    handle::<Tokio>();
    shareable::<Builder>();
    shareable::<NoRuntime>();
    // A task's output has to be `Send`, and nothing else.
    shareable::<crate::Task<std::cell::Cell<u8>>>();
    shareable::<crate::OffloadTask<std::cell::Cell<u8>>>();
    shareable_pinned::<crate::Sleep>();
};

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::{Tokio, known};

    /// Runtimes that are gone leave no entry behind. (Other tests have runtimes meanwhile.)
    #[test]
    fn what_is_known_does_not_grow() {
        for _ in 0..100 {
            drop(Tokio::builder().worker_threads(1).build().unwrap());
        }
        assert!(known().len() < 50, "{} entries", known().len());
    }

    #[test]
    fn of_many_who_ask_at_once_all_get_the_same() {
        for _ in 0..20 {
            let native = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .build()
                .unwrap();
            let together = Barrier::new(4);
            let ask = || {
                together.wait();
                Tokio::from_handle(native.handle().clone()).id()
            };
            let ids: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            });
            assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        }
    }
}
