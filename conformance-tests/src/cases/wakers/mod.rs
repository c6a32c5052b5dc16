//! WA: wakers.

mod anywhere;
mod lost;
mod polls;

use crate::{Case, setup::Setup};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    [polls::cases(s), anywhere::cases(s), lost::cases(s)].concat()
}
