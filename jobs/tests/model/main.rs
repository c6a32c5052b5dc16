//! Compares the manager with a model: random operations, on each runtime.

mod program;

use fourway_testing::{any, any_current_thread, any_smol, any_tokio};
use program::{check, op};
use proptest::prelude::*;

macro_rules! on {
    ($($name:ident: $rt:expr, $cases:literal;)*) => {
        $(
            #[test]
            fn $name() {
                let rt = $rt;
                let config = ProptestConfig {
                    cases: $cases,
                    failure_persistence: None,
                    ..ProptestConfig::default()
                };
                proptest!(config, |(concurrency in 1_usize..4, ops in prop::collection::vec(op(), 1..60))| {
                    check(&rt, concurrency, ops, false);
                });
            }
        )*
    };
}

on! {
    on_std_thread: any(), 60;
    on_tokio: any_tokio(), 30;
    on_tokio_current_thread: any_current_thread(), 30;
    on_smol: any_smol(), 30;
}
