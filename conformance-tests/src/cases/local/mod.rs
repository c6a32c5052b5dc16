//! LO: futures that stay on their thread.

mod ambient;
mod around;
mod tasks;

use std::{rc::Rc, thread, time::Duration};

use crate::{Case, setup::Setup};

pub(super) fn cases<S: Setup>(s: S) -> Vec<Case> {
    [tasks::cases(s), around::cases(s), ambient::cases(s)].concat()
}

const MS: Duration = Duration::from_millis(1);

/// Fails if it is used on another thread.
#[derive(Clone)]
struct Here(thread::ThreadId, Rc<()>);

impl Here {
    fn new() -> Self {
        Self(thread::current().id(), Rc::new(()))
    }

    #[track_caller]
    fn check(&self) {
        assert_eq!(thread::current().id(), self.0);
    }
}
