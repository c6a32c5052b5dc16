//! Values that crates beside the core keep with a runtime: [`Extensions`].

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::fork::Process;

/// Values that belong to a runtime, one of each type, for crates that add a capability to
/// every runtime: the state of a reactor, for example.
///
/// An adapter has one for each runtime, gives it out by
/// [`Spawner::extensions`](crate::Spawner::extensions), puts into it the parts of the native
/// runtime that other crates need (the Tokio adapter: its `Handle`), and [closes](Self::close) it
/// when the runtime's shutdown begins. Closing drops the values, and no more are accepted. So a
/// capability learns of the shutdown by its value's destructor.
///
/// Clones share the same values. A value must not keep a handle on its runtime: that would keep
/// the runtime from ending with its last handle ([dropping a handle never blocks][SH-2]).
///
/// In a forked child, extensions from before the fork are closed, and their values are not touched
/// ([forked children][FK-1]).
///
/// # Examples
///
/// ```
/// use fourway_core::implement::Extensions;
/// use std::sync::Arc;
///
/// let extensions = Extensions::new();
/// let counter = extensions.get_or_insert_with(|| Arc::new(1));
/// assert_eq!(counter.as_deref(), Some(&1));
/// assert_eq!(extensions.get::<Arc<i32>>(), counter);
/// extensions.close();
/// assert_eq!(extensions.get::<Arc<i32>>(), None);
/// ```
///
/// [SH-2]: crate::contract#SH-2
/// [FK-1]: crate::contract#FK-1
#[derive(Clone)]
pub struct Extensions {
    values: Arc<Mutex<Option<Values>>>,
    process: Process,
}

type Values = HashMap<TypeId, Box<dyn Any + Send>>;

impl Extensions {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Process::this())
    }

    /// Empty, of a runtime of `process`.
    #[must_use]
    pub fn of(process: Process) -> Self {
        Self {
            values: Arc::new(Mutex::new(Some(Values::new()))),
            process,
        }
    }

    /// A clone of the value of this type.
    #[must_use]
    pub fn get<T: Clone + Send + 'static>(&self) -> Option<T> {
        find(self.lock()?.as_ref()?).cloned()
    }

    /// A clone of the value of this type, which `make` makes if there is none. `None` once
    /// it is closed.
    ///
    /// `make` runs under no lock: if two threads come at once, both may call it, and one of the
    /// values is dropped.
    pub fn get_or_insert_with<T: Clone + Send + 'static>(
        &self,
        make: impl FnOnce() -> T,
    ) -> Option<T> {
        if let Some(value) = find::<T>(self.lock()?.as_ref()?).cloned() {
            return Some(value);
        }
        let made = make();
        let copy = made.clone();
        let mut values = self.lock()?;
        let values = values.as_mut()?;
        if let Some(value) = find::<T>(values).cloned() {
            return Some(value);
        }
        values.insert(TypeId::of::<T>(), Box::new(made));
        Some(copy)
    }

    /// Drops all values, under no lock. There will be no others.
    pub fn close(&self) {
        let values = self.lock().and_then(|mut values| values.take());
        drop(values);
    }

    /// `None` in a forked child, where the lock may be held for ever.
    fn lock(&self) -> Option<MutexGuard<'_, Option<Values>>> {
        let values = self.process.is_this().then(|| self.values.lock())?;
        // `T::clone` is the only user code that runs under the lock, and leaves nothing half done.
        Some(values.unwrap_or_else(PoisonError::into_inner))
    }
}

fn find<T: 'static>(values: &Values) -> Option<&T> {
    values.get(&TypeId::of::<T>())?.downcast_ref()
}

impl Default for Extensions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once_and_dropped_when_it_is_closed() {
        let extensions = Extensions::new();
        let made = extensions.get_or_insert_with(|| Arc::new("value"));
        let made = made.expect("it is open");
        let again = extensions.get_or_insert_with(|| Arc::new("another"));
        assert!(again.is_some_and(|again| Arc::ptr_eq(&made, &again)));
        let weak = Arc::downgrade(&made);
        drop(made);
        assert!(weak.upgrade().is_some());
        let clone = extensions.clone();
        extensions.close();
        assert!(weak.upgrade().is_none());
        assert_eq!(clone.get_or_insert_with(|| Arc::new("late")), None);
    }

    #[test]
    fn one_of_another_process_is_closed() {
        let extensions = Extensions::of(Process::GONE);
        assert_eq!(extensions.get_or_insert_with(|| 1), None);
        extensions.close();
    }
}
