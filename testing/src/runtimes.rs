//! All runtimes.

use fourway_core::{AnyRuntime, Compose};
use fourway_smol::Smol;
use fourway_std_thread::StdThread;
use fourway_tokio::Tokio;

/// Runs the test on every runtime.
pub fn each(test: impl Fn(AnyRuntime)) {
    for (name, rt) in runtimes() {
        // Shown if the test fails.
        eprintln!("on {name}");
        test(rt);
    }
}

/// All of them, without their types.
#[must_use]
pub fn runtimes() -> Vec<(&'static str, AnyRuntime)> {
    vec![
        ("std-thread", any()),
        ("tokio, multi-thread", any_tokio()),
        ("tokio, current-thread", any_current_thread()),
        ("smol, global", AnyRuntime::new(Smol::global())),
        ("smol, own", any_smol()),
        (
            "Compose",
            AnyRuntime::new(Compose::new(tokio(), std_thread())),
        ),
        (
            "ten lines",
            AnyRuntime::new(fourway_adapt::Adapter::new(ThreadEach)),
        ),
    ]
}

#[derive(Clone)]
struct ThreadEach;

impl fourway_adapt::Execute for ThreadEach {
    fn execute(&self, future: fourway_adapt::BoxFuture) {
        std::thread::spawn(move || fourway_adapt::run(future));
    }
}

/// With its type, as the next three.
#[must_use]
pub fn std_thread() -> StdThread {
    StdThread::new().unwrap()
}

/// Multi-thread.
#[must_use]
pub fn tokio() -> Tokio {
    Tokio::builder().build().unwrap()
}

/// The other flavour.
#[must_use]
pub fn tokio_current_thread() -> Tokio {
    Tokio::builder().current_thread().build().unwrap()
}

/// A separate executor.
#[must_use]
pub fn smol() -> Smol {
    Smol::builder().build().unwrap()
}

/// Without its type, as the next three.
#[must_use]
pub fn any() -> AnyRuntime {
    AnyRuntime::new(std_thread())
}

/// Multi-thread.
#[must_use]
pub fn any_tokio() -> AnyRuntime {
    AnyRuntime::new(tokio())
}

/// The other flavour.
#[must_use]
pub fn any_current_thread() -> AnyRuntime {
    AnyRuntime::new(tokio_current_thread())
}

/// A separate executor.
#[must_use]
pub fn any_smol() -> AnyRuntime {
    AnyRuntime::new(smol())
}

/// Makes tests of generic functions: each on each runtime by its own type, and on one erased
/// runtime.
#[macro_export]
macro_rules! on_every_runtime {
    // Erased: one copy of the code serves all, which compiles in a fifth of the time.
    (erased $($test:ident)*) => {
        $crate::on_every_runtime!(@ any any_tokio any_current_thread any_smol: $($test)*);
    };
    (@: $($test:ident)*) => {};
    (@ $runtime:ident $($rest:ident)*: $($test:ident)*) => {
        mod $runtime {
            $( #[test] fn $test() { super::$test($crate::$runtime()); } )*
        }
        $crate::on_every_runtime!(@ $($rest)*: $($test)*);
    };
    ($($test:ident)*) => {
        $crate::on_every_runtime!(@ std_thread tokio tokio_current_thread smol any: $($test)*);
    };
}
