//! The runtime that an application gets without naming one.

use std::{
    env, fmt, io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fourway_adapt::fork::PerProcess;
use fourway_core::{AnyRuntime, Runtime, Shutdown, Spawner};

use crate::ambient::looks_up;

/// The environment variable that chooses among the runtimes compiled in.
const VARIABLE: &str = "FOURWAY_RUNTIME";

/// The default of the process; set at most once. A forked child begins without.
static DEFAULT: PerProcess<AnyRuntime> = PerProcess::new();

/// The runtime of [`Main`](crate::entry::Main), the default where no other was set. It stays when
/// it has been shut down, so that what runs at the end of a program starts no second runtime; the
/// next `Main` takes its place.
static MAIN: PerProcess<Mutex<Option<AnyRuntime>>> = PerProcess::new();

/// A runtime that can be had by name.
struct Choice {
    name: &'static str,
    make: fn() -> io::Result<AnyRuntime>,
}

/// Those compiled in, the most deliberate choice first: `std-thread` is enabled by default, so an
/// application that enabled another one wants that.
const CHOICES: &[Choice] = &[
    #[cfg(feature = "tokio")]
    Choice {
        name: "tokio",
        make: || Ok(AnyRuntime::new(fourway_tokio::Tokio::new()?)),
    },
    #[cfg(feature = "smol")]
    Choice {
        name: "smol",
        make: || Ok(AnyRuntime::new(fourway_smol::Smol::global())),
    },
    #[cfg(feature = "std-thread")]
    Choice {
        name: "std-thread",
        make: || Ok(AnyRuntime::new(fourway_std_thread::StdThread::new()?)),
    },
];

const NAMES: &[&str] = &[
    #[cfg(feature = "tokio")]
    "tokio",
    #[cfg(feature = "smol")]
    "smol",
    #[cfg(feature = "std-thread")]
    "std-thread",
];

/// The names of all runtimes that can be compiled in: those of the features.
pub(crate) const FEATURES: &[&str] = &["tokio", "smol", "std-thread"];

/// The names of the runtimes compiled in, in the order in which
/// [`default_runtime`] prefers them.
#[must_use]
pub fn compiled_in() -> &'static [&'static str] {
    NAMES
}

/// The runtime that the calling thread is running code of, if any.
///
/// Inside a task, a closure or a `block_on` of a fourway runtime it is that
/// runtime; with the `tokio` feature, inside any Tokio runtime it is that one,
/// also where fourway did not start it. So a library that is called inside
/// someone's Tokio application does not start a second runtime.
///
/// Work of a layered runtime finds the layered one, so its own work has the layers too ([values
/// travel with the work](fourway_core::contract#CX-3)).
#[must_use]
pub fn current() -> Option<AnyRuntime> {
    #[cfg(feature = "tokio")]
    fourway_tokio::install_probe();
    AnyRuntime::current()
}

/// The runtime to use where none is named.
///
/// In this order:
///
/// 1. [`current`]: the one the calling thread is in.
/// 2. The one given to [`set_default_runtime`].
/// 3. The one that the environment variable `FOURWAY_RUNTIME` names: `tokio`,
///    `smol` or `std-thread`, in capital letters or with `_` if you like. It has to be
///    compiled in; a variable that is empty counts as not set.
/// 4. The first that is compiled in of `tokio`, `smol`, `std-thread`.
///
/// The last two are started at the first call and live as long as the process.
///
/// In a forked child the runtime is a fresh one, by points 3 and 4: neither the parent's
/// default nor a runtime that the thread was in at the fork is of any use there ([forked
/// children](fourway_core::contract#FK-1)).
///
/// For applications. A feature enabled anywhere in the dependency tree can change
/// point 4, so that a library should take its runtime as a value.
///
/// The handle is bound to the runtime it names: when that has been shut down, it refuses
/// work, whatever runtime the thread is in by then. Do not keep it in a `static` that
/// several runtimes share; [`Ambient`](crate::Ambient) is for that.
///
/// # Panics
///
/// Where [`try_default_runtime`] returns an error.
#[must_use]
#[track_caller]
pub fn default_runtime() -> AnyRuntime {
    match try_default_runtime() {
        Ok(runtime) => runtime,
        Err(error) => panic!("{error}"),
    }
}

/// As [`default_runtime`], with an error in place of the panic.
///
/// # Errors
///
/// * No runtime is compiled in.
/// * `FOURWAY_RUNTIME` names one that is unknown or not compiled in.
/// * The system cannot start the runtime's threads.
pub fn try_default_runtime() -> Result<AnyRuntime, DefaultRuntimeError> {
    if let Some(existing) = existing() {
        return Ok(existing);
    }
    let runtime = runtime_named(default_name()?)?;
    // Of two threads that come here at once, one wins, and the other's runtime
    // is dropped again.
    Ok(DEFAULT.get_or_init(|| runtime).clone())
}

/// The name of the runtime that is started where none is named: the one that the environment names,
/// or the first.
pub(crate) fn default_name() -> Result<&'static str, DefaultRuntimeError> {
    match env::var_os(VARIABLE) {
        Some(name) if !name.is_empty() => {
            let name = name.to_string_lossy();
            folded(NAMES, &name).ok_or_else(|| DefaultRuntimeError::unknown(&name))
        }
        _ => NAMES.first().copied().ok_or(DefaultRuntimeError {
            kind: Kind::NoneCompiledIn,
        }),
    }
}

/// The runtime that [`default_runtime`] gives without starting one.
pub(crate) fn existing() -> Option<AnyRuntime> {
    current()
        .or_else(|| DEFAULT.get().cloned())
        .or_else(|| main().clone())
}

/// Makes the runtime of a `Main` the default, unless the program has set another one, which it
/// then wants, or another `Main` is still running.
pub(crate) fn set_main_runtime(runtime: &AnyRuntime) {
    let mut main = main();
    if main.as_ref().is_none_or(AnyRuntime::is_shutdown) {
        let before = main.replace(runtime.clone());
        // Its destructor may be anyone's.
        drop((main, before));
    }
}

/// Takes back `runtime` of a `Main` that has failed: there is none again. That of another `Main`
/// stays, whether it is running or has ended.
pub(crate) fn forget_main_runtime(runtime: &AnyRuntime) {
    let mut main = main();
    let is_it = |known: &AnyRuntime| known.runtime_id() == runtime.runtime_id();
    if main.as_ref().is_some_and(is_it) {
        let before = main.take();
        drop((main, before));
    }
}

fn main() -> MutexGuard<'static, Option<AnyRuntime>> {
    // No code of others runs under it.
    MAIN.get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Makes `runtime`, of any type, the default of the process.
///
/// # Errors
///
/// Gives `runtime` back, as an [`AnyRuntime`], if there is a default already: set by an earlier call,
/// made by [`default_runtime`], or that of a [`Main`](crate::entry::Main); or if `runtime` is an
/// [`Ambient`](crate::Ambient) or contains one, which would find itself.
///
/// # Examples
///
/// ```no_run
/// # #[cfg(feature = "std-thread")] {
/// let rt = fourway::std_thread::StdThread::builder().worker_threads(2).build()?;
/// fourway::set_default_runtime(rt).expect("nobody has asked for one before");
/// # }
/// # std::io::Result::Ok(())
/// ```
pub fn set_default_runtime(runtime: impl Runtime) -> Result<(), AnyRuntime> {
    let runtime = AnyRuntime::new(runtime);
    if main().is_some() || looks_up(&runtime) {
        return Err(runtime);
    }
    DEFAULT.set(runtime)
}

/// A new runtime with the default settings, by the name of its feature.
///
/// Capital letters and `_` for `-` make no difference. `smol` is smol's global executor, which
/// is the same each time.
///
/// # Errors
///
/// * The name is unknown, or its feature is not enabled.
/// * The system cannot start the runtime's threads.
pub fn runtime_named(name: &str) -> Result<AnyRuntime, DefaultRuntimeError> {
    let choice = folded(NAMES, name)
        .and_then(|name| CHOICES.iter().find(|choice| choice.name == name))
        .ok_or_else(|| DefaultRuntimeError::unknown(name))?;
    (choice.make)().map_err(|error| DefaultRuntimeError::io(choice.name, error))
}

/// The one of `names` that is meant: shells and configuration files spell them with `_` and
/// in capital letters.
pub(crate) fn folded(names: &[&'static str], name: &str) -> Option<&'static str> {
    let name = name.replace('_', "-");
    let is_meant = |known: &&&str| known.eq_ignore_ascii_case(&name);
    names.iter().find(is_meant).copied()
}

/// Why there is no default runtime.
pub struct DefaultRuntimeError {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    NoneCompiledIn,
    Unknown(String),
    Io(&'static str, io::Error),
}

impl DefaultRuntimeError {
    pub(crate) fn unknown(name: &str) -> Self {
        Self {
            kind: Kind::Unknown(name.to_owned()),
        }
    }

    pub(crate) fn io(name: &'static str, error: io::Error) -> Self {
        Self {
            kind: Kind::Io(name, error),
        }
    }

    /// Is no runtime compiled in, or not the one that was named?
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self.kind, Kind::NoneCompiledIn | Kind::Unknown(_))
    }
}

impl fmt::Display for DefaultRuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::NoneCompiledIn => f.write_str(
                "no runtime is compiled in: add `features = [\"std-thread\"]` to the dependency on \
                 `fourway`, or \"tokio\", or \"smol\"",
            ),
            Kind::Unknown(name) => {
                let compiled_in = if NAMES.is_empty() {
                    String::from("none")
                } else {
                    NAMES.join(", ")
                };
                match folded(FEATURES, name) {
                    Some(feature) => write!(
                        f,
                        "the runtime `{feature}` is not compiled in: add \
                         `features = [\"{feature}\"]` to the dependency on `fourway` (asked for by \
                         name or by {VARIABLE}; compiled in: {compiled_in})"
                    ),
                    None => write!(
                        f,
                        "there is no runtime `{name}` (asked for by name or by {VARIABLE}); \
                         compiled in: {compiled_in}. The names are those of `fourway`'s features: \
                         {}",
                        FEATURES.join(", ")
                    ),
                }
            }
            Kind::Io(name, error) => {
                write!(f, "the `{name}` runtime could not be started: {error}")
            }
        }
    }
}

impl fmt::Debug for DefaultRuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DefaultRuntimeError")
            .field(&self.kind)
            .finish()
    }
}

impl std::error::Error for DefaultRuntimeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            // Its own message is in this one's.
            Kind::Io(_, error) => error.source(),
            Kind::NoneCompiledIn | Kind::Unknown(_) => None,
        }
    }
}
