//! Which local tasks the calling code belongs to.

use std::cell::RefCell;

use super::Local;

/// The spawner of the local tasks that the calling code is part of: the innermost, while the
/// main future or a task of a [`block_on`] or a [`run`] is made, polled or destroyed ([local spawn
/// from anywhere][LO-2]).
///
/// [`block_on`]: super::block_on
/// [`run`]: super::run
/// [LO-2]: crate::contract#LO-2
#[must_use]
pub fn current() -> Option<Local> {
    // Not there any more: in the destructor of another thread-local.
    CURRENT
        .try_with(|current| current.borrow().clone())
        .ok()
        .flatten()
}

thread_local! {
    /// The spawner of the innermost future that is being polled on this thread.
    static CURRENT: RefCell<Option<Local>> = const { RefCell::new(None) };
}

/// Makes a spawner current until this is dropped.
pub(super) struct Entered {
    before: Option<Local>,
}

impl Entered {
    pub(super) fn new(local: &Local) -> Self {
        let local = local.clone();
        let before = CURRENT.try_with(|current| current.replace(Some(local)));
        Self {
            before: before.ok().flatten(),
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.before.take();
        // Dropped outside of the borrow: the last handle drops the tasks, which are user code.
        let ours = CURRENT.try_with(|current| current.replace(before));
        drop(ours);
    }
}
