//! Cases without a broken runtime that makes them fail, and why.

/// A reason, and the cases that have it.
pub(crate) const EXEMPT: &[(&str, &[&str])] = &[
    (
        "only unsafe code in a runtime can misplace or move a value, and the broken ones have none; \
         Miri is for that",
        &["SP-4.4", "SP-4.5"],
    ),
    (
        "what it is about are bounds, which the compiler checks when the case is built",
        &["SP-4.6"],
    ),
    (
        "what an async block or a closure has captured dies in its last poll or call, and safe code \
         cannot keep it; JO-2.1 shows the same with a future made by hand",
        &["JO-2.4", "OF-2.8"],
    ),
    (
        "it is about `fourway_core::Timeout`, which is the same code over every runtime's `sleep`, \
         and no runtime can replace it",
        &["TI-3.1", "TI-3.2", "TI-3.5"],
    ),
    (
        "it is about `fourway_core::Interval`, which is the same code over every runtime's `sleep`, \
         and no runtime can replace it",
        &["TI-3.11", "TI-3.12"],
    ),
    (
        "the mark is a thread-local of `fourway-core`, and a runtime cannot hand it to a thread that \
         it does not start",
        &["CX-1.12"],
    ),
    (
        "a join that loses a wake after it was given up loses a race, and none is sure to",
        &["JO-1.5"],
    ),
    (
        "it may be that its closure has not begun when the runtime goes, and is dropped with it, so \
         that no runtime is sure to fail it",
        &["CX-1.15"],
    ),
    (
        "it is about `Propagate`, which wraps futures and closures before the runtime sees them, and \
         is the same code over every runtime",
        &["CX-3.1", "CX-3.2", "CX-3.3", "CX-3.5", "CX-3.7"],
    ),
    (
        "it is about `Values::scope`, which is the same code over every runtime",
        &["CX-3.11"],
    ),
    (
        "it is about `fourway_core::local`, which polls the tasks itself within one `block_on`, and is \
         the same code over every runtime",
        &[
            "LO-1.1", "LO-1.3", "LO-1.4", "LO-1.5", "LO-1.6", "LO-1.7", "LO-1.11", "LO-1.14",
            "LO-1.16", "LO-2.1", "LO-2.2", "LO-2.3", "LO-2.5", "LO-2.6",
        ],
    ),
];
