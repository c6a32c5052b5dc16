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
    // In the order of their numbers, also where a file has others between them.
    all.sort_by_key(|case| {
        let numbers = case.id.split(['-', '.']).skip(1);
        numbers
            .map(str::parse)
            .collect::<Result<Vec<u32>, _>>()
            .ok()
    });
    all
}
