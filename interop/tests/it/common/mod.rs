//! Each test on every runtime.

use std::thread;

use fourway_adapt::{Adapter, BoxFuture, Execute};

/// About the simplest executor there is.
#[derive(Clone)]
pub(crate) struct ThreadEach;

impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        thread::spawn(move || fourway_adapt::run(future));
    }
}

pub(crate) fn ten_lines() -> Adapter<ThreadEach> {
    Adapter::new(ThreadEach)
}

/// Makes a `#[test]` of each function, which takes a runtime, on every runtime.
macro_rules! on_every_runtime {
    ($($test:ident),+ $(,)?) => {
        on_every_runtime!(@ on_std_thread, fourway_std_thread::StdThread::new().unwrap(), $($test)+);
        on_every_runtime!(@ on_tokio, fourway_tokio::Tokio::builder().build().unwrap(), $($test)+);
        on_every_runtime!(
            @ on_tokio_current_thread,
            fourway_tokio::Tokio::builder().current_thread().build().unwrap(),
            $($test)+
        );
        on_every_runtime!(@ on_smol, fourway_smol::Smol::builder().build().unwrap(), $($test)+);
        on_every_runtime!(@ on_smol_global, fourway_smol::Smol::global(), $($test)+);
        on_every_runtime!(@ on_ten_lines, $crate::common::ten_lines(), $($test)+);
        on_every_runtime!(
            @ on_any,
            fourway_core::AnyRuntime::new(fourway_std_thread::StdThread::new().unwrap()),
            $($test)+
        );
        on_every_runtime!(
            @ on_propagate_and_compose,
            fourway_core::layer::Propagate::new(fourway_core::Compose::new(
                fourway_tokio::Tokio::builder().build().unwrap(),
                fourway_std_thread::StdThread::new().unwrap(),
            )),
            $($test)+
        );
    };
    (@ $runtime:ident, $build:expr, $($test:ident)+) => {
        mod $runtime {
            $(
                #[test]
                fn $test() {
                    super::$test($build);
                }
            )+
        }
    };
}
