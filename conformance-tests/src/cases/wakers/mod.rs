//! WA: wakers.

mod anywhere;
mod lost;
mod polls;

use crate::{Case, Subject};

pub(super) fn cases<S: Subject>() -> Vec<Case> {
    [
        polls::cases::<S>(),
        anywhere::cases::<S>(),
        lost::cases::<S>(),
    ]
    .concat()
}
