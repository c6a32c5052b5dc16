//! CX: context.

mod both_ways;
mod marks;
mod values;

use std::time::Duration;

use crate::{Case, Subject};

pub(super) fn cases<S: Subject>() -> Vec<Case> {
    [
        marks::cases::<S>(),
        both_ways::cases::<S>(),
        values::cases::<S>(),
    ]
    .concat()
}

const MS: Duration = Duration::from_millis(1);
