//! Values that travel with the work: [`Values`] and [`Key`].

mod current;
mod entry;
mod list;
#[cfg(test)]
mod tests;

use std::{
    any::TypeId,
    fmt,
    marker::PhantomData,
    sync::{
        Arc, OnceLock,
        atomic::{Ordering, fence},
    },
};

pub use current::WithValues;
pub(crate) use entry::LateEntry;

use crate::cancel::CancellationToken;
use entry::{Entry, Late, One, Two};
use list::{Node, Older};

/// Names one kind of value, such as a request id. Made to be a `static`.
///
/// # Examples
///
/// ```
/// use fourway_core::values::{Key, Values};
///
/// static REQUEST: Key<u64> = Key::new("request");
///
/// Values::current().with(&REQUEST, 7).scope(|| {
///     assert_eq!(REQUEST.get(), Some(7));
/// });
/// assert_eq!(REQUEST.get(), None);
/// ```
pub struct Key<T> {
    name: &'static str,
    // A key is told from others by its address, so that it must have one.
    _address: u8,
    value: PhantomData<fn() -> T>,
}

impl<T: Clone + Send + Sync + 'static> Key<T> {
    /// A key with a name for debugging. Keys are told apart by the `static`
    /// they are in, not by the name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            _address: 0,
            value: PhantomData,
        }
    }

    /// The value that is current on this thread, if there is one.
    #[must_use]
    pub fn get(&'static self) -> Option<T> {
        if is_plain::<T>() {
            return Values::with_current(|values| values.look(self).ok().flatten().cloned());
        }
        // Cloned outside of the thread-local's borrow, because that is foreign code, which may
        // enter a scope.
        let found = |values: &Values| values.find(self).is_some().then(|| values.clone());
        let values = Values::with_current(found)?;
        values.look(self).ok().flatten().cloned()
    }

    fn id(&'static self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// Is it a type whose `clone` is known? Decided by the compiler.
#[inline]
fn is_plain<T: 'static>() -> bool {
    let id = TypeId::of::<T>();
    id == TypeId::of::<u64>()
        || id == TypeId::of::<u32>()
        || id == TypeId::of::<usize>()
        || id == TypeId::of::<u128>()
        || id == TypeId::of::<bool>()
        || id == TypeId::of::<&'static str>()
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.name).finish()
    }
}

/// A set of values: immutable, cheap to clone, shared by all parts of one piece of work.
///
/// Wrap a runtime in [`Propagate`](crate::layer::Propagate), and the values that
/// are current where work is spawned or offloaded are current where it runs
/// ([values travel with the work][CX-3]). As the set cannot be changed, only replaced for a scope,
/// no change leaks back, and nothing stays behind on a pooled thread.
///
/// [CX-3]: crate::contract#CX-3
#[derive(Clone, Default)]
pub struct Values {
    // Newest first. Few values are expected, so that a list beats a map.
    newest: Option<Arc<Node>>,
}

/// A value has yet to be made.
pub(crate) struct NotMade;

impl Values {
    /// These values, and `value` under `key` in place of an earlier one.
    ///
    /// Values that have been replaced may be dropped here; and so that they can be, other values of
    /// the set may be cloned. That is code of whoever set them: hold no lock that it may need.
    ///
    /// # Panics
    ///
    /// With a panic of such code.
    #[must_use]
    pub fn with<T: Clone + Send + Sync + 'static>(self, key: &'static Key<T>, value: T) -> Self {
        self.with_entry([key.id(), 0], One(key, value))
    }

    /// [`with`](Self::with) twice, in one allocation.
    pub(crate) fn with_both<A, B>(
        self,
        (first, a): (&'static Key<A>, A),
        (second, b): (&'static Key<B>, B),
    ) -> Self
    where
        A: Clone + Send + Sync + 'static,
        B: Clone + Send + Sync + 'static,
    {
        let keys = [first.id(), second.id()];
        self.with_entry(keys, Two(One(first, a), One(second, b)))
    }

    /// [`with_both`](Self::with_both), where the second value, if it is not there, is made of the
    /// first one when it is asked for; or its default, if it cannot be made. [`Key::get`] does not
    /// ask for it.
    // Parameters of their own, which go through registers: in pairs they would go through memory,
    // to be read there as a whole just after they were written in parts.
    #[inline]
    pub(crate) fn with_late<A, B>(
        self,
        first: &'static Key<A>,
        a: A,
        key: &'static Key<B>,
        b: Option<B>,
        make: fn(&A) -> Option<B>,
    ) -> (Self, LateEntry<A, B>)
    where
        A: Clone + Send + Sync + 'static,
        B: Clone + Default + Send + Sync + 'static,
    {
        let keys = [first.id(), key.id()];
        let late = Late {
            first: One(first, a),
            key,
            second: OnceLock::new(),
            make,
        };
        let node = Older::of(self, keys).with(keys, late);
        if let Some(b) = b {
            // Not made with it: a cell with a value is slow to move.
            let _ = node.entry.second.set(b);
        }
        let entry = LateEntry(Arc::downgrade(&node));
        (Self { newest: Some(node) }, entry)
    }

    fn with_entry(self, keys: [usize; 2], entry: impl Entry + 'static) -> Self {
        Self {
            newest: Some(Older::of(self, keys).with(keys, entry)),
        }
    }

    /// The value under `key`.
    #[must_use]
    pub fn get<T: Clone + Send + Sync + 'static>(&self, key: &'static Key<T>) -> Option<&T> {
        let (node, at) = self.find(key)?;
        let value = node.entry.value(at).or_else(|| {
            node.entry.make();
            node.entry.value(at)
        });
        value?.downcast_ref()
    }

    /// The value under `key`, unless it has yet to be made. `Err` if it has. Calls no foreign code.
    pub(crate) fn look<T>(&self, key: &'static Key<T>) -> Result<Option<&T>, NotMade>
    where
        T: Clone + Send + Sync + 'static,
    {
        let Some((node, at)) = self.find(key) else {
            return Ok(None);
        };
        Ok(node.entry.value(at).ok_or(NotMade)?.downcast_ref())
    }

    /// [`look`](Self::look) for the key of the current token. Takes a fraction of its time.
    #[inline]
    pub(crate) fn look_at_token(
        &self,
        key: &'static Key<CancellationToken>,
    ) -> Result<Option<&CancellationToken>, NotMade> {
        let Some((node, at)) = self.find(key) else {
            return Ok(None);
        };
        node.entry.token(at).map(Some).ok_or(NotMade)
    }

    #[inline]
    fn find<T: Clone + Send + Sync + 'static>(
        &self,
        key: &'static Key<T>,
    ) -> Option<(&Node, usize)> {
        let id = key.id();
        self.nodes()
            .find_map(|node| Some((node, node.keys.iter().position(|key| *key == id)?)))
    }

    /// Are there no values?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.newest.is_none()
    }

    /// Are these a clone of `other`, or are both empty?
    ///
    /// Sets that were made separately are not the same, even with equal values.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.newest, &other.newest) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (None, None) => true,
            _ => false,
        }
    }

    /// See [`implement::are_unshared`](crate::implement::are_unshared).
    pub(crate) fn are_unshared(&self) -> bool {
        let nodes = std::iter::successors(self.newest.as_ref(), |node| node.older.newest.as_ref());
        let unshared = nodes.into_iter().all(|node| Arc::strong_count(node) == 1);
        // Pairs with the Release with which another holder has let go.
        fence(Ordering::Acquire);
        unshared
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        std::iter::successors(self.newest.as_deref(), |node| node.older.newest.as_deref())
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.nodes().flat_map(|node| {
                let (first, second) = node.entry.names();
                std::iter::once(first).chain(second)
            }))
            .finish()
    }
}
