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

use crate::Subject;

/// One case of the suite.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The rule it holds a runtime to and an ordinal, for good: `JO-2.1`.
    pub id: &'static str,
    /// What must be so, in a few words.
    pub title: &'static str,
    /// Why it matters; where it was learnt from.
    pub why: &'static str,
    /// Runs the case on a fresh runtime; panics if the rule is broken.
    pub run: fn(),
}

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

/// Writes a table of cases: `case!(id, title, why, function::<S>)`.
macro_rules! table {
    ($($id:literal, $title:literal, $why:literal, $run:expr;)*) => {
        ::std::vec![$($crate::cases::Case {
            id: $id,
            title: $title,
            why: $why,
            run: $run,
        }),*]
    };
}
pub(crate) use table;
