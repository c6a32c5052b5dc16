//! The list of a set's entries, and how replaced ones leave it.

use std::sync::Arc;

use super::{Values, entry::Entry};

/// The entry is inline, without a box: a set costs one allocation per entry.
pub(super) struct Node<T: ?Sized = dyn Entry> {
    /// The entry's keys. With one value, the second key is zero, which is no key's address.
    pub(super) keys: [usize; 2],
    pub(super) older: Older,
    pub(super) entry: T,
}

/// The entries that are older than one.
///
/// Work that starts its own successor adds entries to the values that it has, without end. So
/// entries whose values have been replaced must go: those that are the newest go at once, others
/// when the list gets long. This also bounds the depth of the recursion that drops a list.
#[derive(Clone, Default)]
pub(super) struct Older {
    pub(super) newest: Option<Arc<Node>>,
    length: u32,
    /// With this length, the next entry looks for entries to leave out. Zero is [`SHORT`].
    ///
    /// [`SHORT`]: Self::SHORT
    pub(super) limit: u32,
}

impl Older {
    /// No search for entries to leave out below this length.
    pub(super) const SHORT: u32 = 32;

    /// `values`, for an entry with these keys above them. Drops what the entry replaces: foreign
    /// code.
    #[inline]
    pub(super) fn of(values: Values, keys: [usize; 2]) -> Self {
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

    pub(super) fn with<T>(self, keys: [usize; 2], entry: T) -> Arc<Node<T>> {
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
