//! The cases, a file for each rule.

mod dropping;
mod ends;
mod holding;
mod lives;
mod processes;
mod whole;

use crate::case::Case;

pub(crate) fn all() -> Vec<Case> {
    [
        dropping::cases(),
        ends::cases(),
        holding::cases(),
        whole::cases(),
        lives::cases(),
        processes::cases(),
    ]
    .concat()
}
