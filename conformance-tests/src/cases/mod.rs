//! The cases, a module for each group of rules.

mod block_on;
mod cancel;
mod context;
mod fairness;
mod join;
mod local;
mod offload;
mod shutdown;
mod spawn;
mod time;
mod wakers;

use crate::{Case, Subject};

/// All cases for one subject, in the order of the contract.
#[must_use]
pub fn cases<S: Subject>() -> Vec<Case> {
    [
        spawn::cases::<S>(),
        join::cases::<S>(),
        cancel::cases::<S>(),
        wakers::cases::<S>(),
        block_on::cases::<S>(),
        offload::cases::<S>(),
        time::cases::<S>(),
        context::cases::<S>(),
        local::cases::<S>(),
        fairness::cases::<S>(),
        shutdown::cases::<S>(),
    ]
    .concat()
}

/// Writes a table of cases:
///
/// ```text
/// "JO-2.1", "title", "why", function::<S>;
/// "SH-1.1", "title", "why", function::<S>, needs [Shutdown];
/// "WA-3.1", "title", "why", function::<S>, needs_any [LostTasks, Shutdown];
/// "SH-1.11", "title", "why", function::<S>, without [Shutdown];
/// "FA-1.9", "title", "why", function::<S>, stress;
/// ```
///
/// A case that needs a capability, or is about its absence, is an extended one.
macro_rules! table {
    (@level) => { $crate::Level::Core };
    (@level stress) => { $crate::Level::Stress };
    (@level $word:ident [$($need:ident),*]) => { $crate::Level::Extended };
    (@needs needs [$($need:ident),*]) => { &[$($crate::Capability::$need),*] };
    (@needs $($other:tt)*) => { &[] };
    (@needs_any needs_any [$($need:ident),*]) => { &[$($crate::Capability::$need),*] };
    (@needs_any $($other:tt)*) => { &[] };
    (@without without [$($need:ident),*]) => { &[$($crate::Capability::$need),*] };
    (@without $($other:tt)*) => { &[] };
    ($($id:literal, $title:literal, $why:literal, $run:expr $(, $word:ident $([$($need:ident),*])?)?;)*) => {
        ::std::vec![$($crate::Case {
            id: $id,
            title: $title,
            why: $why,
            level: $crate::cases::table!(@level $($word $([$($need),*])?)?),
            needs: $crate::cases::table!(@needs $($word $([$($need),*])?)?),
            needs_any: $crate::cases::table!(@needs_any $($word $([$($need),*])?)?),
            without: $crate::cases::table!(@without $($word $([$($need),*])?)?),
            since: "0.1.0",
            run: $run,
        }),*]
    };
}
pub(crate) use table;
