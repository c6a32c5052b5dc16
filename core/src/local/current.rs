//! Which local tasks the calling code belongs to.

use std::{cell::RefCell, mem::ManuallyDrop};

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
    // Where it can be gone, as in a model, there is none.
    CURRENT
        .try_with(|current| (**current.borrow()).clone())
        .ok()
        .flatten()
}

thread_local! {
    /// The spawner of the innermost future that is being polled on this thread.
    // Without a destructor: destructors of other thread-locals drive local tasks, too. There is
    // nothing to drop when the thread ends, because each spawner is exchanged for the one before.
    static CURRENT: RefCell<ManuallyDrop<Option<Local>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Makes a spawner current until this is dropped.
pub(super) struct Entered {
    before: Option<Local>,
}

impl Entered {
    pub(super) fn new(local: &Local) -> Self {
        Self {
            before: exchange(Some(local.clone())),
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Dropped outside of the borrow: the last handle drops the tasks, which are user code.
        let ours = exchange(self.before.take());
        drop(ours);
    }
}

fn exchange(local: Option<Local>) -> Option<Local> {
    let before = CURRENT.try_with(|current| current.replace(ManuallyDrop::new(local)));
    before.ok().and_then(ManuallyDrop::into_inner)
}
