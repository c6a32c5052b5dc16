//! The line that spawned the child whose code a thread runs: [`at`].

use std::{cell::Cell, panic::Location};

use fourway_core::task::Metadata;

use crate::sync::thread_local;

type Line = Option<&'static Location<'static>>;

thread_local! {
    static CHILD: Cell<Line> = const { Cell::new(None) };
}

/// Where the innermost child was spawned whose code the calling thread runs; `None` outside of
/// children.
pub(crate) fn at() -> Line {
    CHILD.try_with(Cell::get).ok().flatten()
}

/// Calls `f` as code of the child with that metadata.
#[inline]
pub(crate) fn within<T>(metadata: &Metadata, f: impl FnOnce() -> T) -> T {
    let _before = Before(swap(Some(metadata.location())));
    f()
}

/// Sets it back, also if the child panics.
struct Before(Line);

impl Drop for Before {
    #[inline]
    fn drop(&mut self) {
        swap(self.0);
    }
}

/// While the thread's locals are being destroyed there is nothing to set.
#[inline]
fn swap(line: Line) -> Line {
    CHILD
        .try_with(|child| child.replace(line))
        .unwrap_or_default()
}
