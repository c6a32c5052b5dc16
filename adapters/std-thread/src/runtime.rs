use std::{fmt, io, sync::Arc};

use fourway_adapt::{fork::ForgetInChild, pool::Pool, timer::Timers};
use fourway_core::{
    AnyRuntime,
    implement::{Extensions, Registration, RuntimeId},
};

use crate::{Builder, executor::Executor};

/// A handle on a runtime of plain threads.
///
/// A clone is another handle on the same runtime. See the [crate docs](crate)
/// for what runs where, and for what dropping the last handle does.
#[derive(Clone)]
pub struct StdThread {
    pub(crate) shared: Arc<ForgetInChild<Shared>>,
}

// A panic of a task, a closure or a future in `block_on` leaves the runtime as it was: no foreign code
// runs under its locks. Said here because it keeps closures and wakers of others.
impl std::panic::UnwindSafe for StdThread {}
impl std::panic::RefUnwindSafe for StdThread {}

/// The state that the handles share. Threads and tasks hold parts of it, never the whole. The last
/// handle drops it, which shuts the runtime down.
pub(crate) struct Shared {
    pub(crate) executor: Arc<Executor>,
    pub(crate) pool: Pool,
    pub(crate) compute: Pool,
    pub(crate) timers: Timers,
    pub(crate) extensions: Extensions,
    pub(crate) registration: Registration,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Pools and timers end by themselves, but this pool may have other handles.
        self.compute.close();
        self.executor.close();
        self.extensions.close();
    }
}

/// As [`AnyRuntime::new`].
impl From<StdThread> for AnyRuntime {
    fn from(runtime: StdThread) -> Self {
        Self::new(runtime)
    }
}

impl StdThread {
    /// A runtime with the default settings: a worker for each core.
    ///
    /// # Errors
    ///
    /// If the system cannot start the worker threads.
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// Configures a runtime.
    pub fn builder() -> Builder {
        Builder::default()
    }

    #[inline]
    pub(crate) fn id(&self) -> RuntimeId {
        self.shared.registration.id()
    }
}

impl fmt::Debug for StdThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdThread")
            .field("executor", &self.shared.executor)
            .field("pool", &self.shared.pool)
            .field("compute", &self.shared.compute)
            .finish_non_exhaustive()
    }
}

/// Users put handles into structs of their own and share them.
const _: fn() = || {
    fn check<T: Send + Sync + Unpin + Clone + fmt::Debug + 'static>() {}
    check::<StdThread>();
};
