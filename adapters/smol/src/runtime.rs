use std::{fmt, io, sync::Arc};

use fourway_adapt::{
    fork::{ForgetInChild, PerProcess, Process},
    pool::Pool,
};
use fourway_core::{
    AnyRuntime,
    implement::{Extensions, Registration, RuntimeId},
};

use crate::{Builder, executor::Owner};

/// A handle on smol: on its global executor, or on an executor and threads of
/// its own.
///
/// A clone is another handle on the same runtime. Dropping the last handle on an
/// executor of its own shuts that down without waiting ([dropping a handle never
/// blocks](fourway_core::contract#SH-2)): suspended futures are destroyed on its threads, queued
/// closures dropped, and the threads end. smol's global executor runs as long as the process.
///
/// A task that holds a handle on its own runtime keeps it from ending that way;
/// [`Shutdown::shutdown`](fourway_core::Shutdown::shutdown) ends it all the same.
#[derive(Clone)]
pub struct Smol {
    pub(crate) shared: Arc<ForgetInChild<Shared>>,
}

// A panic of a task, a closure or a future in `block_on` leaves the runtime as it was: no foreign code
// runs under its locks. Said here because it keeps closures and wakers of others.
impl std::panic::UnwindSafe for Smol {}
impl std::panic::RefUnwindSafe for Smol {}

pub(crate) struct Shared {
    // First, so that tasks begin to go before the closures they wait for.
    pub(crate) tasks: Tasks,
    pub(crate) pool: Pool,
    pub(crate) extensions: Extensions,
    pub(crate) registration: Registration,
    /// Does it stand for smol's global executor?
    pub(crate) is_global: bool,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The tasks and the pool end by themselves, but other code may hold the extensions.
        self.extensions.close();
    }
}

/// The executor that runs the tasks.
pub(crate) enum Tasks {
    Global,
    Own(Owner),
}

/// As [`AnyRuntime::new`].
impl From<Smol> for AnyRuntime {
    fn from(runtime: Smol) -> Self {
        Self::new(runtime)
    }
}

impl Smol {
    /// A runtime with an executor of its own and the default settings: a worker for each core.
    ///
    /// # Errors
    ///
    /// If the system cannot start the worker threads.
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// smol's global executor, the one of [`smol::spawn`], and an offload pool
    /// with the default limits that the whole process shares.
    ///
    /// Its threads are smol's: one, unless the environment variable
    /// `SMOL_THREADS` says otherwise. The first call starts them, and allocates their resources for
    /// the life of the process. Every call gives a handle on the same runtime. (In a forked child
    /// that is an executor of fourway's, with as many threads: smol's are not there.) It cannot be
    /// shut down. For other limits, see [`Builder::global_executor`].
    ///
    /// # Panics
    ///
    /// If smol cannot start its threads.
    #[must_use]
    pub fn global() -> Self {
        static GLOBAL: PerProcess<Smol> = PerProcess::new();
        GLOBAL
            .get_or_init(|| {
                Self::builder()
                    .global_executor()
                    .build()
                    .expect("the default limits are valid")
            })
            .clone()
    }

    /// Configures a runtime.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Is this a forked child of the process that the runtime is of? Then nothing of it is
    /// touched: its threads are not here, and its locks may be held for ever (FK-1, forked
    /// children).
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        ForgetInChild::is_inherited(&self.shared)
    }

    #[inline]
    pub(crate) fn id(&self) -> RuntimeId {
        self.shared.registration.id()
    }
}

/// Can `async-io` be used, and smol's global executor? They belong to the process that they
/// were started in: in a forked child their threads are not there, and the poller is shared
/// with the parent, whose events it would take and whose descriptors it would forget. So in a
/// child fourway's own `block_on` and timers take their place, and an executor of its own that
/// of the global one, on all runtimes (FK-1, forked children).
#[inline]
pub(crate) fn smol_is_usable() -> bool {
    !Process::this().is_forked()
}

impl fmt::Debug for Smol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Smol");
        match &self.shared.tasks {
            Tasks::Global => f.field("executor", &"global"),
            Tasks::Own(own) => f.field("executor", own.executor()),
        };
        f.field("pool", &self.shared.pool).finish()
    }
}

const _: fn() = || {
    fn handle<T: fourway_core::Runtime + fourway_core::Shutdown + fmt::Debug + Unpin>() {}
    fn shareable<T: Send + Sync + Unpin + fmt::Debug>() {}
    handle::<Smol>();
    shareable::<Builder>();
    shareable::<crate::Sleep>();
    // A task's output has to be `Send`, and nothing else.
    shareable::<crate::Task<std::cell::Cell<u8>>>();
    shareable::<crate::OffloadTask<std::cell::Cell<u8>>>();
};
