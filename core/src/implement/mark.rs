//! Marks on threads, the registry of runtimes, and probes for foreign ones.

use std::{
    cell::Cell,
    fmt,
    marker::PhantomData,
    num::NonZeroU32,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use super::fork::Process;
use crate::{AnyRuntime, BlockOnError, context::Context, layer::Layers, sync::thread_local};

/// See [`context::current`](crate::context::current).
#[inline]
pub(crate) fn current() -> Context {
    let context = MARK.get().context();
    if context == Context::Async {
        return Context::Async;
    }
    // A foreign executor may have been entered inside what we marked.
    let Some(first) = PROBES[0].get() else {
        return context;
    };
    match (first.context)() {
        Some(found) => found,
        None if PROBES[1].get().is_none() => context,
        None => ask_other_probes().unwrap_or(context),
    }
}

#[cold]
fn ask_other_probes() -> Option<Context> {
    probes().skip(1).find_map(|probe| (probe.context)())
}

/// The runtime whose task, closure or `block_on` the calling thread is running.
#[inline]
#[must_use]
pub fn runtime_id() -> Option<RuntimeId> {
    MARK.get().runtime()
}

/// Refuses threads that run async code, which must not block ([no blocking in async code][BL-2]).
///
/// # Errors
///
/// [`is_nested`](BlockOnError::is_nested) if [`context::current`](crate::context::current) is [`Context::Async`].
///
/// [BL-2]: crate::contract#BL-2
#[inline]
pub fn check_may_block() -> Result<(), BlockOnError> {
    // The mark first, not as a part of `current`: each item that sync code reads comes by here, and
    // which of the other contexts it is need not be found out.
    let is_async =
        MARK.get().is_async() || (PROBES[0].get().is_some() && current() == Context::Async);
    if is_async {
        return Err(BlockOnError::nested());
    }
    Ok(())
}

/// A thread's mark in one word: the runtime's number, or zero, above the two bits of the context.
///
/// It is written twice for each poll of a task. As a struct it would be written
/// field by field and read as a whole, and a processor has to wait for that. For the same reason, no
/// part of it fills a half: the compiler would replace that half alone.
#[derive(Clone, Copy)]
struct Mark(u64);

impl Mark {
    const PLAIN: Self = Self::new(Context::Sync, 0);
    const CONTEXT: u64 = 0b11;

    #[inline]
    const fn new(context: Context, runtime: u32) -> Self {
        Self(((runtime as u64) << 2) | context as u64)
    }

    /// The same context, of `runtime`.
    #[inline]
    const fn of(self, runtime: RuntimeId) -> Self {
        Self(((runtime.0.get() as u64) << 2) | (self.0 & Self::CONTEXT))
    }

    #[inline]
    const fn is_async(self) -> bool {
        self.0 & Self::CONTEXT == Context::Async as u64
    }

    #[inline]
    fn context(self) -> Context {
        match self.0 & Self::CONTEXT {
            0 => Context::Sync,
            1 => Context::Async,
            _ => Context::Blocking,
        }
    }

    #[inline]
    fn number(self) -> u32 {
        // It was one before it was shifted.
        (self.0 >> 2) as u32
    }

    #[inline]
    fn runtime(self) -> Option<RuntimeId> {
        NonZeroU32::new(self.number()).map(RuntimeId)
    }
}

thread_local! {
    // Const and without a destructor: it can be read at any time, also from the
    // destructors of other thread-locals, and reading it is one load.
    static MARK: Cell<Mark> = const { Cell::new(Mark::PLAIN) };
}

/// Marks the thread as running `context` code of `runtime`, until the returned
/// guard is dropped. Without a `runtime`, the thread's runtime stays the same.
///
/// Guards must be dropped in the reverse order of their making.
#[inline]
pub fn enter(context: Context, runtime: Option<RuntimeId>) -> Entered {
    let previous = MARK.get();
    let number = match runtime {
        Some(id) => id.0.get(),
        None => previous.number(),
    };
    Entered::new(previous, Mark::new(context, number))
}

/// Marks the thread as running code of `runtime`, in the context that it is in, until the returned
/// guard is dropped: for a blocking body that runs in place ([the current context is exact][CX-1]).
///
/// Guards must be dropped in the reverse order of their making.
///
/// [CX-1]: crate::contract#CX-1
#[inline]
pub fn enter_runtime(runtime: RuntimeId) -> Entered {
    let previous = MARK.get();
    Entered::new(previous, previous.of(runtime))
}

/// Restores the thread's earlier mark when dropped. Made by [`enter`].
#[must_use = "the mark lasts until this guard is dropped"]
pub struct Entered {
    previous: Mark,
    // The mark belongs to this thread.
    not_send: PhantomData<*const ()>,
}

impl Entered {
    #[inline]
    fn new(previous: Mark, mark: Mark) -> Self {
        MARK.set(mark);
        Self {
            previous,
            not_send: PhantomData,
        }
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        MARK.set(self.previous);
    }
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered")
            .field("previous", &self.previous.context())
            .finish_non_exhaustive()
    }
}

/// Tells the runtimes of a process apart. Made by [`register`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuntimeId(NonZeroU32);

/// Makes a runtime known to [`AnyRuntime::current`], under a fresh id.
///
/// `handle` makes a handle on the runtime, or `None` if it is going away; it
/// should hold the runtime weakly, so that the registry does not keep it alive.
pub fn register<H>(handle: H) -> Registration
where
    H: Fn() -> Option<AnyRuntime> + Send + Sync + 'static,
{
    // Relaxed: only uniqueness matters. After 2^32 runtimes the counter stays
    // at its end, and the latest runtimes share an id rather than fail.
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let id = NEXT
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |id| {
            Some(id.saturating_add(1))
        })
        .unwrap_or(u32::MAX);
    let id = RuntimeId(NonZeroU32::new(id).unwrap_or(NonZeroU32::MAX));
    registry().push((id, std::sync::Arc::new(handle)));
    Registration { id }
}

/// Keeps a runtime known; forgets it when dropped. Made by [`register`].
#[derive(Debug)]
#[must_use = "the runtime is forgotten when this is dropped"]
pub struct Registration {
    id: RuntimeId,
}

impl Registration {
    /// The id to pass to [`enter`].
    #[inline]
    #[must_use]
    pub fn id(&self) -> RuntimeId {
        self.id
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut registry = registry();
        let entry = registry
            .iter()
            .position(|(id, _)| *id == self.id)
            .map(|at| registry.swap_remove(at));
        // The closure is the adapter's code: not under our lock.
        drop(registry);
        drop(entry);
    }
}

/// A handle on the runtime that [`runtime_id`] names, or on a foreign one that
/// a probe found.
pub(crate) fn current_runtime() -> Option<AnyRuntime> {
    Some(Layers::current().around(bare_runtime()?))
}

fn bare_runtime() -> Option<AnyRuntime> {
    if let Some(current) = runtime_id() {
        let handle = registry()
            .iter()
            .find(|(id, _)| *id == current)
            .map(|(_, handle)| handle.clone());
        if let Some(runtime) = handle.and_then(|handle| handle()) {
            return Some(runtime);
        }
    }
    probes().find_map(|probe| (probe.runtime)())
}

type Handle = std::sync::Arc<dyn Fn() -> Option<AnyRuntime> + Send + Sync>;

/// The runtimes that were made in this process.
fn registry() -> MutexGuard<'static, Vec<(RuntimeId, Handle)>> {
    // Several registries, because the one of a forked child's parent may be locked for ever, and a
    // lock in a static cannot be replaced without `unsafe`. After 64 nested forks a process uses
    // the first registry again. It never looks up the runtimes there. But if another thread held
    // the lock at the moment of the first fork, it hangs.
    static REGISTRIES: [Mutex<Vec<(RuntimeId, Handle)>>; 64] =
        [const { Mutex::new(Vec::new()) }; 64];
    REGISTRIES[Process::this().number() % REGISTRIES.len()]
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// How to recognise code that a foreign runtime runs without fourway.
#[derive(Debug)]
pub struct Probe {
    /// The thread's context, as the foreign runtime sees it; `None` if that runtime has nothing to
    /// say. Called often: must be quick where the foreign runtime is not involved.
    pub context: fn() -> Option<Context>,
    /// The foreign runtime the thread is in, if it is in one.
    pub runtime: fn() -> Option<AnyRuntime>,
}

// Written once each, in order; read on every look at the context.
static PROBES: [OnceLock<&'static Probe>; 4] = [const { OnceLock::new() }; 4];

fn probes() -> impl Iterator<Item = &'static Probe> {
    PROBES.iter().map_while(|probe| probe.get().copied())
}

/// Adds a probe for a foreign runtime, for the rest of the process.
/// Adding the same one again does nothing.
///
/// # Panics
///
/// If there are already four different probes.
pub fn install_probe(probe: &'static Probe) {
    let installed = PROBES
        .iter()
        .any(|slot| std::ptr::eq(*slot.get_or_init(|| probe), probe));
    assert!(
        installed,
        "there is room for four probes of foreign runtimes"
    );
}
