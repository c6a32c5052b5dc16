//! The entries of a set: one value, two, or one and another that is made of it later.

use std::{
    any::Any,
    ptr,
    sync::{Arc, OnceLock, Weak},
};

use super::{
    Key, Values,
    list::{Node, Older},
};
use crate::cancel::CancellationToken;

/// One value, or two that are always there together.
pub(super) trait Entry: Send + Sync {
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

pub(super) struct One<T: 'static>(pub(super) &'static Key<T>, pub(super) T);

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

pub(super) struct Two<A: 'static, B: 'static>(pub(super) One<A>, pub(super) One<B>);

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
pub(super) struct Late<A: 'static, B: 'static> {
    pub(super) first: One<A>,
    pub(super) key: &'static Key<B>,
    pub(super) second: OnceLock<B>,
    pub(super) make: fn(&A) -> Option<B>,
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
pub(crate) struct LateEntry<A: 'static, B: 'static>(pub(super) Weak<Node<Late<A, B>>>);

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
