//! The cases, a file for each rule.

mod accepted;
mod harmed;
mod poison;
mod recorded;
mod retried;
mod same;
mod undeclared;

use crate::case::Case;

pub(crate) fn all() -> Vec<Case> {
    let mut all = accepted::cases();
    all.extend(harmed::cases());
    all.extend(recorded::cases());
    all.extend(poison::cases());
    all.extend(same::cases());
    all.extend(undeclared::cases());
    all.extend(retried::cases());
    all
}
