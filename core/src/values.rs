//! Values that travel with the work: [`Values`] and [`Key`].

use std::{
    any::{Any, TypeId},
    cell::RefCell,
    fmt,
    future::Future,
    marker::PhantomData,
    mem::ManuallyDrop,
    pin::Pin,
    ptr,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{Ordering, fence},
    },
};

use crate::{cancel::CancellationToken, scoped::scoped_future, sync::thread_local};

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

/// The entry is inline, without a box: a set costs one allocation per entry.
struct Node<T: ?Sized = dyn Entry> {
    /// The entry's keys. With one value, the second key is zero, which is no key's address.
    keys: [usize; 2],
    older: Older,
    entry: T,
}

/// The entries that are older than one.
///
/// Work that starts its own successor adds entries to the values that it has, without end. So
/// entries whose values have been replaced must go: those that are the newest go at once, others
/// when the list gets long. This also bounds the depth of the recursion that drops a list.
#[derive(Clone, Default)]
struct Older {
    newest: Option<Arc<Node>>,
    length: u32,
    /// With this length, the next entry looks for entries to leave out. Zero is [`SHORT`].
    ///
    /// [`SHORT`]: Self::SHORT
    limit: u32,
}

/// One value, or two that are always there together.
trait Entry: Send + Sync {
    /// The value under the first key or the second one; `None` if it has yet to be made.
    fn value(&self, at: usize) -> Option<&dyn Any>;

    /// [`value`](Self::value) under the key of the current token, which work looks at in its loops.
    ///
    /// Here the type is known, so that it is compared by the compiler. An `Any` returns its type's
    /// number in two halves through the memory, which is then read as a whole: that read waits
    /// until both have arrived, four times as long as all the rest takes.
    fn token(&self, at: usize) -> Option<&CancellationToken>;

    /// Makes the value that has yet to be made. Foreign code.
    fn make(&self) {}

    /// A copy of the values whose keys are `live`, of which there is one at least, above other
    /// entries. Foreign code.
    fn copy(&self, live: [bool; 2], older: Older) -> Arc<Node>;

    fn names(&self) -> (&'static str, Option<&'static str>);
}

/// `value`, if it is a token. Decided by the compiler.
#[inline]
fn as_token<T: 'static>(value: &T) -> Option<&CancellationToken> {
    let value: &dyn Any = value;
    value.downcast_ref()
}

struct One<T: 'static>(&'static Key<T>, T);

impl<T: Clone + Send + Sync> Entry for One<T> {
    fn value(&self, _: usize) -> Option<&dyn Any> {
        Some(&self.1)
    }

    fn token(&self, _: usize) -> Option<&CancellationToken> {
        as_token(&self.1)
    }

    fn copy(&self, _: [bool; 2], older: Older) -> Arc<Node> {
        older.with([self.0.id(), 0], Self(self.0, self.1.clone()))
    }

    fn names(&self) -> (&'static str, Option<&'static str>) {
        (self.0.name, None)
    }
}

struct Two<A: 'static, B: 'static>(One<A>, One<B>);

impl<A: Clone + Send + Sync, B: Clone + Send + Sync> Entry for Two<A, B> {
    fn value(&self, at: usize) -> Option<&dyn Any> {
        Some(if at == 0 { &self.0.1 } else { &self.1.1 })
    }

    fn token(&self, at: usize) -> Option<&CancellationToken> {
        match at {
            0 => as_token(&self.0.1),
            _ => as_token(&self.1.1),
        }
    }

    fn copy(&self, live: [bool; 2], older: Older) -> Arc<Node> {
        match live {
            [true, true] => {
                let copy = Self(
                    One(self.0.0, self.0.1.clone()),
                    One(self.1.0, self.1.1.clone()),
                );
                older.with([self.0.0.id(), self.1.0.id()], copy)
            }
            [true, false] => self.0.copy(live, older),
            [false, _] => self.1.copy(live, older),
        }
    }

    fn names(&self) -> (&'static str, Option<&'static str>) {
        (self.0.0.name, Some(self.1.0.name))
    }
}

/// A value, and one that is made of it when it is first asked for.
struct Late<A: 'static, B: 'static> {
    first: One<A>,
    key: &'static Key<B>,
    second: OnceLock<B>,
    make: fn(&A) -> Option<B>,
}

impl<A: Clone + Send + Sync, B: Clone + Send + Sync + Default> Entry for Late<A, B> {
    fn value(&self, at: usize) -> Option<&dyn Any> {
        if at == 0 {
            return Some(&self.first.1);
        }
        let second: &dyn Any = self.second.get()?;
        Some(second)
    }

    fn token(&self, at: usize) -> Option<&CancellationToken> {
        match at {
            0 => as_token(&self.first.1),
            _ => as_token(self.second.get()?),
        }
    }

    fn make(&self) {
        // Not within `get_or_init`: what makes it may set it meanwhile.
        let made = (self.make)(&self.first.1).unwrap_or_default();
        self.second.get_or_init(|| made);
    }

    fn copy(&self, live: [bool; 2], older: Older) -> Arc<Node> {
        if !live[1] {
            return self.first.copy(live, older);
        }
        // Made now: made later, the copy could not be reached through the [`LateEntry`].
        self.make();
        let second = One(self.key, self.second.get().cloned().unwrap_or_default());
        if !live[0] {
            return second.copy(live, older);
        }
        let keys = [self.first.0.id(), self.key.id()];
        older.with(keys, Two(One(self.first.0, self.first.1.clone()), second))
    }

    fn names(&self) -> (&'static str, Option<&'static str>) {
        (self.first.0.name, Some(self.key.name))
    }
}

/// The entry of [`Values::with_late`], without the values that are in the set beside it.
pub(crate) struct LateEntry<A: 'static, B: 'static>(Weak<Node<Late<A, B>>>);

impl<A, B: Default> LateEntry<A, B> {
    /// Calls `f` with the value that was to be made later, which is set now if it has not been; or
    /// with a new one, if nobody has the entry any more.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&B) -> T) -> T {
        match self.0.upgrade() {
            Some(node) => f(node.entry.second.get_or_init(B::default)),
            None => f(&B::default()),
        }
    }

    /// Is it the newest of these values?
    pub(crate) fn is_newest_of(&self, values: &Values) -> bool {
        let newest = values.newest.as_ref();
        // The address alone: it cannot be another entry's as long as this refers to it.
        newest.is_some_and(|newest| ptr::addr_eq(Arc::as_ptr(newest), self.0.as_ptr()))
    }
}

/// A value has yet to be made.
pub(crate) struct NotMade;

thread_local! {
    // Without a destructor: destructors of other thread-locals have values, too. There is nothing
    // to drop when the thread ends, because who sets values restores the earlier ones, and the
    // first of them are none.
    static CURRENT: RefCell<ManuallyDrop<Values>> =
        const { RefCell::new(ManuallyDrop::new(Values { newest: None })) };
}

impl Values {
    /// The values that are current on this thread.
    #[must_use]
    pub fn current() -> Self {
        Self::with_current(Self::clone)
    }

    #[inline]
    pub(crate) fn with_current<R: Default>(f: impl FnOnce(&Self) -> R) -> R {
        // Where it can be gone, as in a model, there are no values.
        CURRENT
            .try_with(|current| f(&current.borrow()))
            .unwrap_or_default()
    }

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

    /// Calls `f` with these values current, and restores the earlier ones.
    pub fn scope<R>(self, f: impl FnOnce() -> R) -> R {
        let _restore = self.enter();
        f()
    }

    /// [`scope`](Self::scope), for a caller that needs the values again. They are moved to the
    /// thread and back: a clone would count a reference that all threads share. While `f` runs,
    /// `self` holds the earlier values.
    pub fn scope_mut<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let _back = Lent::new(self);
        f()
    }

    /// Makes these values current whenever `future` is polled or dropped.
    pub fn scope_future<F: Future>(self, future: F) -> WithValues<F> {
        WithValues {
            future: Some(future),
            values: self,
        }
    }

    fn enter(self) -> Restore {
        Restore {
            previous: replace_current(self),
            not_send: PhantomData,
        }
    }
}

impl Older {
    /// No search for entries to leave out below this length.
    const SHORT: u32 = 32;

    /// `values`, for an entry with these keys above them. Drops what the entry replaces: foreign
    /// code.
    #[inline]
    fn of(values: Values, keys: [usize; 2]) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        Self::of_some(values, keys)
    }

    #[inline(never)]
    fn of_some(values: Values, keys: [usize; 2]) -> Self {
        let mut newest = values.newest;
        while newest.as_ref().is_some_and(|node| node.is_replaced(&keys)) {
            newest = newest.and_then(|node| node.older.newest.clone());
        }
        let Some(node) = &newest else {
            return Self::default();
        };
        let (length, limit) = (node.older.length + 1, node.older.limit);
        let older = Self {
            newest,
            length,
            limit,
        };
        if length >= limit.max(Self::SHORT) {
            return older.without_replaced(keys);
        }
        older
    }

    /// Leaves the entries out of which all values have been replaced. Those above the last of them
    /// are copied, as other holders may have them with it.
    ///
    /// The limit is then twice the length, so that along one chain each entry pays for a constant
    /// number of others. Entries that are added to one set beside each other, of which all but the
    /// first would copy it once more, pay only if much goes with it.
    #[cold]
    #[inline(never)]
    fn without_replaced(self, keys: [usize; 2]) -> Self {
        let mut newer = keys.to_vec();
        let (mut above, mut since) = (Vec::new(), Vec::new());
        let (mut below_last, mut replaced) = (None, 0);
        let values = Values {
            newest: self.newest,
        };
        for node in values.nodes() {
            if node.is_replaced(&newer) {
                above.append(&mut since);
                below_last = Some(&node.older);
                replaced += 1;
            } else {
                let live = node.keys.map(|key| key != 0 && !newer.contains(&key));
                since.push((node, live));
            }
            newer.extend(node.keys);
        }
        let Some(below_last) = below_last.filter(|_| replaced >= self.length / 4) else {
            return Self {
                newest: values.newest,
                length: self.length,
                limit: self.length.saturating_mul(2),
            };
        };
        let mut rest = below_last.clone();
        // Of the copies too: each of them is the newest one again when those above it are replaced.
        let limit = (self.length - replaced).saturating_mul(2);
        rest.limit = limit;
        for (node, live) in above.into_iter().rev() {
            let length = rest.length + 1;
            rest = Self {
                newest: Some(node.entry.copy(live, rest)),
                length,
                limit,
            };
        }
        rest
    }

    fn with<T>(self, keys: [usize; 2], entry: T) -> Arc<Node<T>> {
        Arc::new(Node {
            keys,
            older: self,
            entry,
        })
    }
}

impl<T: ?Sized> Node<T> {
    /// Do newer entries have all of these keys?
    #[inline]
    fn is_replaced(&self, newer: &[usize]) -> bool {
        let mut keys = self.keys.iter();
        keys.all(|key| *key == 0 || newer.contains(key))
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

fn replace_current(values: Values) -> Values {
    CURRENT
        .try_with(|current| current.replace(ManuallyDrop::new(values)))
        .map(ManuallyDrop::into_inner)
        .unwrap_or_default()
}

struct Restore {
    previous: Values,
    // The values belong to this thread.
    not_send: PhantomData<*const ()>,
}

impl Drop for Restore {
    fn drop(&mut self) {
        // The values that go away are dropped after the cell is released: their
        // destructors may look at what is current.
        let gone = replace_current(std::mem::take(&mut self.previous));
        drop(gone);
    }
}

/// Values that are current on this thread until this is dropped. The drop moves them back.
struct Lent<'a> {
    // The earlier ones of the thread meanwhile; `None` if they could not be exchanged.
    values: Option<&'a mut Values>,
    // The values belong to this thread.
    not_send: PhantomData<*const ()>,
}

impl<'a> Lent<'a> {
    fn new(values: &'a mut Values) -> Self {
        Self {
            values: exchange(values).then_some(values),
            not_send: PhantomData,
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(values) = &mut self.values {
            exchange(values);
        }
    }
}

/// `false`, and nothing is changed, where [`CURRENT`] can be gone, as in a model.
fn exchange(values: &mut Values) -> bool {
    CURRENT
        .try_with(|current| std::mem::swap(&mut **current.borrow_mut(), values))
        .is_ok()
}

scoped_future! {
    /// A future with values of its own. Made by [`Values::scope_future`].
    WithValues, values: Values => Lent::new(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    static A: Key<u32> = Key::new("a");
    static B: Key<u32> = Key::new("a");
    static OTHER: Key<u32> = Key::new("other");
    static THIRD: Key<u32> = Key::new("third");
    static TEXT: Key<&str> = Key::new("text");

    #[test]
    fn a_clone_may_enter_a_scope() {
        #[derive(Debug)]
        struct Enters;

        impl Clone for Enters {
            fn clone(&self) -> Self {
                assert_eq!(A.get(), Some(1));
                let values = Values::current().with(&A, 2);
                values.scope(|| assert_eq!(A.get(), Some(2)));
                Self
            }
        }

        static ENTERS: Key<Enters> = Key::new("enters");

        let values = Values::default().with(&A, 1).with(&ENTERS, Enters);
        values.scope(|| {
            assert!(ENTERS.get().is_some());
            assert_eq!(A.get(), Some(1));
        });
    }

    #[test]
    fn keys_are_told_apart_by_place_and_not_by_name_or_type() {
        let values = Values::default().with(&A, 1);
        assert_eq!(values.get(&A), Some(&1));
        assert_eq!(values.get(&B), None);
    }

    #[test]
    fn the_newest_value_wins_and_older_sets_stay_as_they_are() {
        let one = Values::default().with(&A, 1);
        let two = one.clone().with(&A, 2);
        assert_eq!((one.get(&A), two.get(&A)), (Some(&1), Some(&2)));
    }

    #[test]
    fn two_values_of_one_entry_are_found_as_if_each_had_its_own() {
        let both = Values::default()
            .with(&A, 1)
            .with_both((&B, 2), (&TEXT, "b"));
        assert_eq!(both.get(&A), Some(&1));
        assert_eq!((both.get(&B), both.get(&TEXT)), (Some(&2), Some(&"b")));
        let newer = both.clone().with(&TEXT, "c");
        assert_eq!((newer.get(&B), newer.get(&TEXT)), (Some(&2), Some(&"c")));
        assert_eq!(format!("{both:?}"), r#"{"a", "text", "a"}"#);
    }

    #[test]
    fn a_value_that_is_replaced_goes() {
        static COUNTED: Key<Arc<()>> = Key::new("counted");
        let (first, second) = (Arc::new(()), Arc::new(()));
        let values = Values::default().with(&COUNTED, first.clone());
        assert_eq!(Arc::strong_count(&first), 2);
        let values = values.with(&COUNTED, second.clone());
        assert_eq!(Arc::strong_count(&first), 1);
        // Not the newest any more: other work may have the two.
        let mut values = values.with(&A, 0);
        for n in 1..=2 * Older::SHORT {
            values = values.with(&COUNTED, first.clone()).with(&A, n);
        }
        assert_eq!(Arc::strong_count(&second), 1);
        assert!(Arc::strong_count(&first) <= 2 + Older::SHORT as usize);
        assert_eq!(values.get(&A), Some(&(2 * Older::SHORT)));
        assert!(Arc::ptr_eq(values.get(&COUNTED).unwrap(), &first));
    }

    #[test]
    fn a_million_replaced_values_are_dropped_on_a_small_stack() {
        // The values are also current elsewhere meanwhile, as those of work that starts the next.
        let mut values = Values::default().with(&B, 7);
        for n in 0..1_000_000 {
            let theirs = values.clone();
            values = match n % 3 {
                0 => values.with(&A, n),
                1 => values.with(&TEXT, "text"),
                _ => values.with_both((&A, n), (&OTHER, n)),
            };
            drop(theirs);
        }
        assert!(values.nodes().count() <= 2 * Older::SHORT as usize);
        assert_eq!((values.get(&A), values.get(&B)), (Some(&999_999), Some(&7)));
        assert_eq!(values.get(&OTHER), Some(&999_998));
        let drops = move || drop(values);
        let thread = std::thread::Builder::new().stack_size(64 << 10);
        thread.spawn(drops).unwrap().join().unwrap();
    }

    #[test]
    fn who_has_the_replaced_values_keeps_them() {
        let mut values = Values::default().with(&B, 7).with(&A, 0);
        let mut all = vec![values.clone()];
        for n in 1..200 {
            values = values.with(&OTHER, n).with(&A, n);
            all.push(values.clone());
        }
        for (n, values) in (0..).zip(&all) {
            assert_eq!((values.get(&A), values.get(&B)), (Some(&n), Some(&7)));
            assert_eq!(values.get(&OTHER), (n > 0).then_some(&n));
        }
    }

    #[test]
    fn many_values_that_are_all_there_stay() {
        let keys = keys(100);
        let mut values = Values::default();
        for (n, key) in keys.iter().enumerate() {
            values = values.with(key, n);
        }
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(values.get(key), Some(&n));
        }
        assert_eq!(values.nodes().count(), 100);
    }

    fn keys(count: usize) -> Vec<&'static Key<usize>> {
        let key = |_| &*Box::leak(Box::new(Key::new("key")));
        (0..count).map(key).collect()
    }

    #[test]
    fn a_set_is_not_copied_for_the_few_that_go() {
        let mut base = Values::default().with(&A, 1);
        for key in keys(Older::SHORT as usize - 1) {
            base = base.with(key, 0);
        }
        for n in 2..4 {
            let values = base.clone().with(&A, n);
            assert_eq!(values.get(&A), Some(&n));
            let newest = values.newest.as_ref().unwrap();
            let older = newest.older.newest.as_ref().unwrap();
            assert!(Arc::ptr_eq(older, base.newest.as_ref().unwrap()));
            assert_eq!(newest.older.limit, 2 * Older::SHORT);
        }
    }

    /// Otherwise a set whose newest entries are replaced would be searched again for each entry.
    #[test]
    fn copied_entries_have_the_limit_of_all() {
        let half = Older::SHORT / 2;
        let keys = keys(half as usize);
        let mut values = Values::default();
        for n in 0..2 {
            for key in &keys {
                values = values.with(key, n);
            }
        }
        values = values.with(&A, 1);
        assert_eq!(values.nodes().count(), keys.len() + 1);
        for node in values.nodes() {
            assert_eq!(node.older.limit, 2 * half);
        }
        for key in keys {
            assert_eq!(values.get(key), Some(&1));
        }
    }

    #[test]
    fn a_value_that_has_yet_to_be_made_is_made_before_it_is_copied() {
        let make = |n: &u32| Some(n + 1);
        let (values, late) = Values::default()
            .with(&B, 0)
            .with_late(&A, 1, &OTHER, None, make);
        let mut newer = values.clone();
        for n in 0..2 * Older::SHORT {
            newer = newer.with(&B, n).with(&THIRD, n);
        }
        assert!(newer.nodes().count() <= Older::SHORT as usize);
        assert_eq!((newer.get(&A), newer.get(&OTHER)), (Some(&1), Some(&2)));
        // One value for all, whoever asks.
        assert_eq!((late.with(|n| *n), values.get(&OTHER)), (2, Some(&2)));
    }

    #[test]
    fn a_set_is_the_same_as_its_clones_and_no_other() {
        let one = Values::default().with(&A, 1);
        assert!(one.is_same(&one.clone()));
        assert!(!one.is_same(&Values::default().with(&A, 1)));
        assert!(!one.is_same(&Values::default()));
        assert!(Values::default().is_same(&Values::default()));
    }

    #[test]
    fn a_panic_in_a_scope_restores_the_values() {
        let result = std::panic::catch_unwind(|| {
            Values::default()
                .with(&A, 1)
                .scope(|| std::panic::resume_unwind(Box::new(())))
        });
        assert!(result.is_err());
        assert_eq!(A.get(), None);
    }

    #[test]
    fn lent_values_come_back_also_from_a_panic() {
        let mut values = Values::default().with(&A, 1);
        for _ in 0..2 {
            assert_eq!(values.scope_mut(|| A.get()), Some(1));
            assert_eq!(A.get(), None);
        }
        let panics = std::panic::AssertUnwindSafe(|| {
            values.scope_mut(|| std::panic::resume_unwind(Box::new(())))
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!((A.get(), values.get(&A)), (None, Some(&1)));
    }

    #[test]
    fn values_are_there_on_a_thread_whose_locals_are_gone() {
        struct Last(std::sync::mpsc::Sender<[Option<u32>; 4]>);
        impl Drop for Last {
            fn drop(&mut self) {
                let mut values = Values::default().with(&A, 1);
                let lent = values.scope_mut(|| A.get());
                let kept = values.get(&A).copied();
                let token = CancellationToken::new();
                token.cancel();
                let cancelled = token.scope(|| crate::cancel::current().is_cancelled());
                let scoped = values.scope(|| A.get());
                let all = [lent, kept, scoped, cancelled.then_some(1)];
                self.0.send(all).unwrap();
                assert_eq!(A.get(), None);
            }
        }
        // The standard library's own: this test runs on real threads, outside any model.
        std::thread_local! {
            static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        // Locals are destroyed in the order in which they were first used, or in the reverse:
        // whichever it is, one of the two comes after the values, if those are destroyed.
        for first in [true, false] {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let keep = || LAST.with(|last| *last.borrow_mut() = Some(Last(sender)));
                if first {
                    keep();
                    drop(Values::current());
                } else {
                    drop(Values::current());
                    keep();
                }
            })
            .join()
            .unwrap();
            assert_eq!(receiver.recv().unwrap(), [Some(1); 4]);
        }
    }
}
