//! CX: context.

mod both_ways;
mod marks;
mod values;

use std::time::Duration;

use crate::{Case, setup::Setup};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    [marks::cases(s), both_ways::cases(s), values::cases(s)].concat()
}

const MS: Duration = Duration::from_millis(1);
