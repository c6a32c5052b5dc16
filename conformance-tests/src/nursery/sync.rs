//! Nurseries of sync code, whose children may borrow: [`SyncNursery`].

use std::{fmt, marker::PhantomData, sync::Arc};

use super::Error;

/// The body of a sync nursery.
pub type SyncBody<'env> =
    Box<dyn for<'scope> FnOnce(SyncNursery<'scope, 'env>) -> Result<u32, Error> + 'env>;

/// A child of a sync nursery.
pub type SyncChild<'scope> = Box<dyn FnOnce() -> Result<(), Error> + Send + 'scope>;

/// The implementation of a [`SyncNursery`].
pub trait SyncSpawn<'scope>: Send + Sync {
    /// Starts a child, or puts it in line.
    fn spawn(&self, child: SyncChild<'scope>);
}

/// A sync nursery, as its body and its children see it.
#[derive(Clone)]
#[allow(
    explicit_outlives_requirements,
    reason = "said, as it is what lets a body borrow from outside"
)]
pub struct SyncNursery<'scope, 'env: 'scope> {
    spawn: Arc<dyn SyncSpawn<'scope> + 'scope>,
    /// Borrowed values outlive the scope, as in `std::thread::Scope`.
    env: PhantomData<&'scope mut &'env ()>,
}

impl<'scope> SyncNursery<'scope, '_> {
    /// A nursery that starts its children by `spawn`.
    pub fn new(spawn: impl SyncSpawn<'scope> + 'scope) -> Self {
        Self {
            spawn: Arc::new(spawn),
            env: PhantomData,
        }
    }

    /// Starts a child, or puts it in line.
    pub fn spawn(&self, child: impl FnOnce() -> Result<(), Error> + Send + 'scope) {
        self.spawn.spawn(Box::new(child));
    }
}

impl fmt::Debug for SyncNursery<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncNursery").finish_non_exhaustive()
    }
}
