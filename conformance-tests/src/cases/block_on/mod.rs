//! BL: blocking on async code.

mod allowed;
mod caller;
mod hooks;
mod in_place;
mod many;
mod refused;
mod tokens;

use crate::{Case, setup::Setup};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    [
        caller::cases(s),
        refused::cases(s),
        allowed::cases(s),
        many::cases(s),
        tokens::cases(s),
        in_place::cases(s),
        hooks::cases(s),
    ]
    .concat()
}

pub(super) fn native<S: Setup>(s: S) -> Vec<Case> {
    [caller::native(s), refused::native(s)].concat()
}
