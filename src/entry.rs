//! Where programs and tests begin: the code behind `#[fourway::main]` and `#[fourway::test]`.
//!
//! ```
//! # #[cfg(feature = "std-thread")] {
//! use fourway::entry::Main;
//! use std::time::Duration;
//!
//! let sum = Main::new()
//!     .worker_threads(2)
//!     .shutdown_timeout(Duration::from_secs(1))
//!     .run(async { 1 + 2 });
//! assert_eq!(sum, 3);
//! # }
//! ```

#[cfg(feature = "ctrl-c")]
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{future::Future, io, mem, time::Duration};

#[cfg(feature = "ctrl-c")]
use fourway_core::CancellationToken;
use fourway_core::{AnyRuntime, BlockOn, Shutdown, Timer, implement};

use crate::default::{
    DefaultRuntimeError, FEATURES, default_name, folded, forget_main_runtime, set_main_runtime,
};

/// A runtime for the whole of a program, which is shut down when the program's main future is done.
///
/// `#[fourway::main]` writes one.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing runs before `run`"]
pub struct Main {
    runtime: Option<&'static str>,
    settings: Settings,
    shutdown_timeout: Option<Duration>,
}

impl Main {
    /// The runtime that `FOURWAY_RUNTIME` names, or the first that is compiled in of `tokio`,
    /// `smol`, `std-thread`, with its own defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the runtime of this feature, whatever the environment says; capital letters and `_` for
    /// `-` make no difference. (smol is one with threads
    /// of its own, which can be shut down, and not the global executor.)
    pub fn runtime(mut self, name: &'static str) -> Self {
        self.runtime = Some(name);
        self
    }

    /// How many threads run tasks. Default: the runtime's own, the number of cores.
    pub fn worker_threads(mut self, threads: usize) -> Self {
        self.settings.workers = Some(threads);
        self
    }

    /// One thread for all tasks: on Tokio its current-thread flavour.
    pub fn current_thread(mut self) -> Self {
        self.settings.current_thread = true;
        self
    }

    /// The prefix of the threads' names. Default: the runtime's own.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.settings.thread_name = Some(name.into());
        self
    }

    /// How long the shutdown waits for running work when the main future is done. Default: 10
    /// seconds.
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = Some(timeout);
        self
    }

    /// Starts the runtime, makes it the [default](crate::default_runtime) one (unless the program
    /// has set another one, or another `Main` is running), drives `main` on the
    /// calling thread, shuts the runtime down ([orderly shutdown](fourway_core::contract#SH-1)),
    /// and returns the output of `main`.
    ///
    /// It stays the default afterwards, and refuses work, until another `Main` runs. If `main` panics,
    /// the runtime is shut down without a wait, and the process has no default again.
    ///
    /// Work that still runs after the [`shutdown_timeout`](Self::shutdown_timeout) is left alone,
    /// and reported on the standard error stream.
    ///
    /// # Panics
    ///
    /// If the runtime is not available or its threads cannot be started; on a thread that runs
    /// async code; and with a panic of `main`.
    #[track_caller]
    pub fn run<F: Future>(self, main: F) -> F::Output {
        self.run_on(|_| main)
    }

    /// As [`run`](Self::run), of a `main` that takes the runtime, or a token that Ctrl-C cancels: see
    /// [`Given`].
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run); and as [`run_until_ctrl_c`](Self::run_until_ctrl_c), if `main` takes a
    /// token.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "std-thread")] {
    /// use fourway::{AnyRuntime, entry::Main, prelude::*};
    ///
    /// async fn sum(rt: AnyRuntime) -> i32 {
    ///     1 + rt.offload(|| 2).await.unwrap()
    /// }
    ///
    /// assert_eq!(Main::new().run_given(sum), 3);
    /// # }
    /// ```
    #[track_caller]
    pub fn run_given<G: Given, F: Future>(self, main: impl FnOnce(G) -> F) -> F::Output {
        // Before the runtime is started, and until after the shutdown: a Ctrl-C meanwhile is not
        // lost. The panic is here and not deeper, so that its location is the caller's.
        let held = match G::hold() {
            Ok(held) => held,
            Err(error) => panic!("Ctrl-C cannot be waited for: {error}"),
        };
        self.run_on(|runtime| main(G::give(&held, runtime)))
    }

    #[track_caller]
    fn run_on<F: Future>(self, main: impl FnOnce(&AnyRuntime) -> F) -> F::Output {
        // Before it is started: a refused one leaves nothing behind.
        if let Err(error) = implement::check_may_block() {
            panic!("{error}");
        }
        let runtime = match self.build() {
            Ok(runtime) => runtime,
            Err(error) => panic!("{error}"),
        };
        set_main_runtime(&runtime);
        let running = Running(&runtime);
        let output = runtime.block_on(main(&runtime));
        // Its end is for a main future that panics. This one has ended well: what it left has
        // until the timeout to end, and its runtime stays the default, so that later uses of the
        // default find it shut down instead of making another one.
        mem::forget(running);
        let timeout = self.shutdown_timeout.unwrap_or(Duration::from_secs(10));
        if let Ok(report) = runtime.shutdown(timeout) {
            if !report.is_clean() {
                eprintln!("fourway: still running after {timeout:?}, and left alone: {report}");
            }
        }
        output
    }

    /// As [`run`](Self::run), with a token that is cancelled when the user presses Ctrl-C (or,
    /// on Unix, sends `SIGTERM` or `SIGHUP`).
    ///
    /// The first one, also while the runtime starts, asks `main` to come to its end; with the
    /// second, and with one that comes after this has returned, the program exits at once, with 130.
    /// A later run is asked anew.
    ///
    /// On Linux `SIGHUP` is left alone if the process ignores it, as one does that `nohup` has started.
    ///
    /// On Unix other code may wait for these signals as well, before or after, if it uses
    /// `signal-hook` as this does, or Tokio, as `fourway::net::signal` does. Code that replaces the
    /// process's handler later takes the signals away from all of them.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run); if no thread can be started that waits for the signals; and, on
    /// Windows, if the program has a handler already.
    #[cfg(feature = "ctrl-c")]
    #[cfg_attr(docsrs, doc(cfg(feature = "ctrl-c")))]
    #[track_caller]
    pub fn run_until_ctrl_c<F: Future>(
        self,
        main: impl FnOnce(CancellationToken) -> F,
    ) -> F::Output {
        self.run_given(main)
    }

    fn build(&self) -> Result<AnyRuntime, DefaultRuntimeError> {
        let name = match self.runtime {
            Some(name) => name,
            None => default_name()?,
        };
        self.settings.build(name)
    }
}

/// Ends the runtime of a main future that panics, and waits for nothing: its work does not go on
/// behind the caller's back, and the process is without a default again.
struct Running<'a>(&'a AnyRuntime);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Duration::ZERO);
        forget_main_runtime(self.0);
    }
}

/// What a `main` may take: the runtime, an [`AnyRuntime`]; with the feature `ctrl-c` a
/// [token](fourway_core::CancellationToken) that Ctrl-C cancels, as
/// [`run_until_ctrl_c`](Main::run_until_ctrl_c) says; and a pair of these.
///
/// The trait is sealed.
#[diagnostic::on_unimplemented(
    message = "`#[fourway::main]` has no `{Self}` to give",
    note = "`main` may take the runtime, `rt: fourway::AnyRuntime`; with the feature `ctrl-c` of `fourway`, a token that Ctrl-C cancels, `stop: fourway::CancellationToken`; or both"
)]
pub trait Given: given::Begin {}

impl Given for AnyRuntime {}

#[cfg(feature = "ctrl-c")]
#[cfg_attr(docsrs, doc(cfg(feature = "ctrl-c")))]
impl Given for CancellationToken {}

impl<A: Given, B: Given> Given for (A, B) {}

mod given {
    use std::error::Error;

    use super::AnyRuntime;

    pub trait Begin: Sized {
        /// What is held from before the runtime is started until after its shutdown.
        type Held;

        /// The error is of waiting for Ctrl-C.
        fn hold() -> Result<Self::Held, Box<dyn Error>>;

        fn give(held: &Self::Held, runtime: &AnyRuntime) -> Self;
    }

    impl Begin for AnyRuntime {
        type Held = ();

        fn hold() -> Result<(), Box<dyn Error>> {
            Ok(())
        }

        fn give((): &(), runtime: &AnyRuntime) -> Self {
            runtime.clone()
        }
    }

    #[cfg(feature = "ctrl-c")]
    impl Begin for super::CancellationToken {
        type Held = (Self, Box<dyn std::any::Any>);

        fn hold() -> Result<Self::Held, Box<dyn Error>> {
            let token = Self::new();
            let until = super::UntilCtrlC::begin(&token)?;
            Ok((token, Box::new(until)))
        }

        fn give((token, _): &Self::Held, _: &AnyRuntime) -> Self {
            token.clone()
        }
    }

    impl<A: Begin, B: Begin> Begin for (A, B) {
        type Held = (A::Held, B::Held);

        fn hold() -> Result<Self::Held, Box<dyn Error>> {
            Ok((A::hold()?, B::hold()?))
        }

        fn give((a, b): &Self::Held, runtime: &AnyRuntime) -> Self {
            (A::give(a, runtime), B::give(b, runtime))
        }
    }
}

/// A run that Ctrl-C asks to end, until it is dropped.
#[cfg(feature = "ctrl-c")]
struct UntilCtrlC {
    number: u64,
}

/// There is one handler, and not one for each run: `ctrlc` takes no other, and one of
/// `signal-hook` that is closed leaves the signal without effect, so that a program could not be
/// interrupted after its run.
#[cfg(feature = "ctrl-c")]
static RUNS: Mutex<Runs> = Mutex::new(Runs {
    handled_in: None,
    begun: 0,
    tokens: Vec::new(),
});

#[cfg(feature = "ctrl-c")]
struct Runs {
    /// The process that has a handler: a forked child has none of its threads.
    handled_in: Option<u32>,
    begun: u64,
    tokens: Vec<(u64, CancellationToken)>,
}

#[cfg(feature = "ctrl-c")]
impl UntilCtrlC {
    fn begin(token: &CancellationToken) -> Result<Self, Box<dyn std::error::Error>> {
        let mut runs = Self::runs();
        let mut of_parent = Vec::new();
        let process = std::process::id();
        if runs.handled_in != Some(process) {
            on_ctrl_c(Self::asked)?;
            runs.handled_in = Some(process);
            of_parent = std::mem::take(&mut runs.tokens);
        }
        runs.begun += 1;
        let number = runs.begun;
        runs.tokens.push((number, token.clone()));
        drop(runs);
        drop(of_parent);
        Ok(Self { number })
    }

    fn asked() {
        let tokens = Self::runs().tokens.clone();
        let mut first = false;
        // Not under the lock: it wakes.
        for (_, token) in tokens {
            if !token.is_cancelled() {
                first = true;
                token.cancel();
            }
        }
        if !first {
            std::process::exit(130);
        }
    }

    fn runs() -> MutexGuard<'static, Runs> {
        // A panic under the lock, if there is any, leaves the value whole.
        RUNS.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "ctrl-c")]
impl Drop for UntilCtrlC {
    fn drop(&mut self) {
        let mut runs = Self::runs();
        let mut tokens = runs.tokens.iter();
        let place = tokens.position(|(number, _)| *number == self.number);
        let token = place.map(|place| runs.tokens.swap_remove(place));
        // The token is dropped without the lock.
        drop(runs);
        drop(token);
    }
}

/// Calls `asked`, on a thread of its own, as often as the user asks the program to end.
#[cfg(all(feature = "ctrl-c", unix))]
fn on_ctrl_c(mut asked: impl FnMut() + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    // These call the handler that was there before. `ctrlc` would replace it with its own, and
    // earlier waiters would not get the signal any more.
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    if !ignores(SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    let thread = std::thread::Builder::new().name("fourway-ctrl-c".to_owned());
    thread.spawn(move || signals.forever().for_each(|_| asked()))?;
    Ok(())
}

/// Does the process ignore this signal? The system call that tells it everywhere takes pointers, and
/// this crate has no `unsafe` code; elsewhere than on Linux none counts as ignored.
#[cfg(all(feature = "ctrl-c", unix))]
fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // Its lowest bit is signal 1.
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

#[cfg(all(feature = "ctrl-c", not(unix)))]
fn on_ctrl_c(asked: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(asked)
}

/// A test on one runtime. `#[fourway::test]` writes one for each that is compiled in.
#[derive(Clone, Debug)]
#[must_use = "nothing runs before `run`"]
pub struct Test {
    runtime: &'static str,
    settings: Settings,
    timeout: Option<Duration>,
}

impl Test {
    /// A test on a runtime by the name of its feature, with two workers.
    pub fn new(runtime: &'static str) -> Self {
        let settings = Settings {
            workers: Some(2),
            ..Settings::default()
        };
        Self {
            runtime,
            settings,
            timeout: None,
        }
    }

    /// See [`Main::worker_threads`].
    pub fn worker_threads(mut self, threads: usize) -> Self {
        self.settings.workers = Some(threads);
        self
    }

    /// See [`Main::current_thread`].
    pub fn current_thread(mut self) -> Self {
        self.settings.current_thread = true;
        self
    }

    /// An async test that takes longer fails, when it next waits for something. Default: none.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Runs an async test, which gets the runtime. Shuts the runtime down afterwards, also if the test
    /// panics, and waits a second at most for what still runs.
    ///
    /// # Panics
    ///
    /// If the runtime is not available, the test panics, or takes too long.
    #[track_caller]
    pub fn run<F: Future>(self, test: impl FnOnce(AnyRuntime) -> F) -> F::Output {
        let runtime = self.build();
        let _ends = Ends(&runtime);
        let test = test(runtime.clone());
        match self.timeout {
            None => runtime.block_on(test),
            Some(timeout) => match runtime.block_on(runtime.timeout(timeout, test)) {
                Ok(output) => output,
                Err(_) => panic!("the test has not come to its end within {timeout:?}"),
            },
        }
    }

    /// Runs a test that is sync code, on the calling thread. Shuts the runtime down afterwards, also
    /// if the test panics, and waits a second at most for what still runs.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    #[track_caller]
    pub fn run_blocking<T>(self, test: impl FnOnce(AnyRuntime) -> T) -> T {
        let runtime = self.build();
        let _ends = Ends(&runtime);
        test(runtime.clone())
    }

    #[track_caller]
    fn build(&self) -> AnyRuntime {
        match self.settings.build(self.runtime) {
            Ok(runtime) => runtime,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Ends the runtime, so that one test's threads are gone before the next one has its own, also if
/// the test panics. It does not wait long for work that a test has left running: a test may do that
/// on purpose.
struct Ends<'a>(&'a AnyRuntime);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Duration::from_secs(1));
    }
}

/// The settings for any runtime.
#[derive(Clone, Debug, Default)]
struct Settings {
    workers: Option<usize>,
    current_thread: bool,
    thread_name: Option<String>,
}

/// Applies the settings that all builders have.
#[cfg(any(feature = "tokio", feature = "smol", feature = "std-thread"))]
macro_rules! set {
    ($settings:ident, $builder:expr) => {{
        let mut builder = $builder;
        if let Some(workers) = $settings.workers {
            builder = builder.worker_threads(workers);
        }
        if $settings.current_thread {
            builder = builder.worker_threads(1);
        }
        if let Some(name) = &$settings.thread_name {
            builder = builder.thread_name(name);
        }
        builder
    }};
}

impl Settings {
    fn build(&self, name: &str) -> Result<AnyRuntime, DefaultRuntimeError> {
        let started = |name, result: io::Result<AnyRuntime>| {
            result.map_err(|error| DefaultRuntimeError::io(name, error))
        };
        match folded(FEATURES, name).unwrap_or(name) {
            #[cfg(feature = "tokio")]
            "tokio" => {
                let mut builder = set!(self, fourway_tokio::Tokio::builder());
                if self.current_thread {
                    builder = builder.current_thread();
                }
                started("tokio", builder.build().map(AnyRuntime::new))
            }
            #[cfg(feature = "smol")]
            "smol" => {
                let builder = set!(self, fourway_smol::Smol::builder());
                started("smol", builder.build().map(AnyRuntime::new))
            }
            #[cfg(feature = "std-thread")]
            "std-thread" => {
                let builder = set!(self, fourway_std_thread::StdThread::builder());
                started("std-thread", builder.build().map(AnyRuntime::new))
            }
            other => {
                // Without any runtime there is nothing to start.
                let _ = started;
                Err(DefaultRuntimeError::unknown(other))
            }
        }
    }
}

/// Items that are there if a runtime is: for the attributes, which cannot see the features.
macro_rules! per_runtime {
    ($d:tt $($feature:literal $if:ident $need:ident;)*) => {$(
        #[cfg(feature = $feature)]
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $if {
            ($d ($d item:tt)*) => { $d ($d item)* };
        }
        #[cfg(not(feature = $feature))]
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $if {
            ($d ($d item:tt)*) => {};
        }
        #[cfg(feature = $feature)]
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $need {
            () => {};
        }
        #[cfg(not(feature = $feature))]
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $need {
            () => {
                ::core::compile_error!(concat!(
                    "the runtime `", $feature, "` is not compiled in: add `features = [\"", $feature,
                    "\"]` to the dependency on `fourway`"
                ));
            };
        }
    )*};
}

per_runtime! { $
    "tokio" __if_tokio __need_tokio;
    "smol" __if_smol __need_smol;
    "std-thread" __if_std_thread __need_std_thread;
}

#[cfg(any(feature = "tokio", feature = "smol", feature = "std-thread"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __need_any {
    () => {};
}

#[cfg(not(any(feature = "tokio", feature = "smol", feature = "std-thread")))]
#[doc(hidden)]
#[macro_export]
macro_rules! __need_any {
    () => {
        ::core::compile_error!(
            "no runtime is compiled in: add `features = [\"std-thread\"]` to the dependency on \
             `fourway`, or \"tokio\", or \"smol\""
        );
    };
}
