//! BL: blocking on async code.

mod allowed;
mod caller;
mod in_place;
mod many;
mod refused;
mod tokens;

use crate::{Case, Subject};

pub(super) fn cases<S: Subject>() -> Vec<Case> {
    [
        caller::cases::<S>(),
        refused::cases::<S>(),
        allowed::cases::<S>(),
        many::cases::<S>(),
        tokens::cases::<S>(),
        in_place::cases::<S>(),
    ]
    .concat()
}
