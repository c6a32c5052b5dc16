//! The cases, a module for each group of rules.

mod block_on;
mod cancel;
mod context;
mod execute;
mod fairness;
mod fork;
mod join;
mod local;
mod nursery;
mod offload;
mod shutdown;
mod spawn;
mod time;
mod wait;
mod wakers;

#[cfg(not(any(fourway_native, test)))]
use crate::erased::Erased;
use crate::{
    Case, Subject, rules,
    setup::{Native, Setup},
};

/// All cases for one subject, in the order of the contract.
#[must_use]
pub fn cases<S: Subject>() -> Vec<Case> {
    let native = Native::of::<S>();
    // To check that erasure hides no fault. (Unit tests run no case, and need none compiled.)
    #[cfg(any(fourway_native, test))]
    let most = any(native);
    #[cfg(not(any(fourway_native, test)))]
    let most = erased(Erased::of::<S>());
    in_order(most, self::native(native))
}

/// Not generic, so that these cases are compiled in this crate, once.
#[cfg(not(any(fourway_native, test)))]
fn erased(s: Erased) -> Vec<Case> {
    any(s)
}

/// Cases that only observe a runtime's behaviour: nearly all.
fn any<S: Setup>(s: S) -> Vec<Case> {
    [
        spawn::cases(s),
        join::cases(s),
        cancel::cases(s),
        wakers::cases(s),
        block_on::cases(s),
        offload::cases(s),
        wait::cases(s),
        time::cases(s),
        context::cases(s),
        local::cases(s),
        fairness::cases(s),
        shutdown::cases(s),
        fork::cases(s),
        nursery::cases(s),
        execute::cases(s),
    ]
    .concat()
}

/// Cases that are about the runtime's own types. Each is compiled for each runtime, so
/// they are few.
fn native<S: Setup>(s: S) -> Vec<Case> {
    [spawn::native(s), block_on::native(s), offload::native(s)].concat()
}

/// By the order of the rules in the contract, and their ordinals.
fn in_order(mut cases: Vec<Case>, more: Vec<Case>) -> Vec<Case> {
    cases.extend(more);
    cases.sort_by_key(|case| {
        let (rule, ordinal) = case.id.split_once('.').unwrap_or((case.id, ""));
        let place = rules::all().iter().position(|one| one.number == rule);
        (place, ordinal.parse::<u32>().ok())
    });
    cases
}

/// Writes a table of cases:
///
/// ```text
/// s;
/// "JO-2.1", "title", "why", function;
/// "SH-1.1", "title", "why", function, needs [Shutdown];
/// "WA-3.1", "title", "why", function, needs_any [LostTasks, Shutdown];
/// "SH-1.11", "title", "why", function, without [Shutdown];
/// "FA-1.9", "title", "why", function, stress;
/// "FK-1.1", "title", "why", function, unix;
/// "NU-1.1", "title", "why", function, extended;
/// ```
///
/// A case that needs a capability, or is about its absence, is an extended one.
macro_rules! table {
    (@level) => { $crate::Level::Core };
    (@level unix) => { $crate::Level::Extended };
    (@level extended) => { $crate::Level::Extended };
    (@level stress) => { $crate::Level::Stress };
    (@level $word:ident [$($need:ident),*]) => { $crate::Level::Extended };
    (@unix unix) => { true };
    (@unix $($other:tt)*) => { false };
    (@needs needs [$($need:ident),*]) => { &[$($crate::Capability::$need),*] };
    (@needs $($other:tt)*) => { &[] };
    (@needs_any needs_any [$($need:ident),*]) => { &[$($crate::Capability::$need),*] };
    (@needs_any $($other:tt)*) => { &[] };
    (@without without [$($need:ident),*]) => { &[$($crate::Capability::$need),*] };
    (@without $($other:tt)*) => { &[] };
    ($s:expr; $($id:literal, $title:literal, $why:literal, $run:expr $(, $word:ident $([$($need:ident),*])?)?;)*) => {
        ::std::vec![$($crate::Case {
            id: $id,
            title: $title,
            why: $why,
            level: $crate::cases::table!(@level $($word $([$($need),*])?)?),
            needs: $crate::cases::table!(@needs $($word $([$($need),*])?)?),
            needs_any: $crate::cases::table!(@needs_any $($word $([$($need),*])?)?),
            without: $crate::cases::table!(@without $($word $([$($need),*])?)?),
            unix: $crate::cases::table!(@unix $($word $([$($need),*])?)?),
            since: "0.1.0",
            body: $crate::case::Body::new({
                let s = $s;
                move || $run(s)
            }),
        }),*]
    };
}
pub(crate) use table;
