/// Values under numbers that are used again, so that adding and removing take constant time.
///
/// Its memory goes by how many values there were at once, and is given back when the last
/// one leaves.
#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<Entry<T>>,
    /// The first of the list of free entries; the length of `entries` if there is none.
    free: usize,
    len: usize,
}

#[derive(Debug)]
enum Entry<T> {
    Used(T),
    /// The next free entry.
    Free(usize),
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: 0,
            len: 0,
        }
    }

    pub(super) fn insert(&mut self, value: T) -> usize {
        let key = self.free;
        match self.entries.get_mut(key) {
            Some(entry) => {
                if let Entry::Free(next) = std::mem::replace(entry, Entry::Used(value)) {
                    self.free = next;
                }
            }
            None => {
                self.entries.push(Entry::Used(value));
                self.free = self.entries.len();
            }
        }
        self.len += 1;
        key
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        match self.entries.get_mut(key) {
            Some(Entry::Used(value)) => Some(value),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: usize) -> Option<T> {
        let entry = self.entries.get_mut(key)?;
        if matches!(entry, Entry::Free(_)) {
            return None;
        }
        let Entry::Used(value) = std::mem::replace(entry, Entry::Free(self.free)) else {
            return None;
        };
        self.free = key;
        self.len -= 1;
        if self.len == 0 {
            *self = Self::new();
        }
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Used(value) => Some(value),
            Entry::Free(_) => None,
        })
    }

    pub(super) fn into_values(self) -> impl Iterator<Item = T> {
        self.entries.into_iter().filter_map(|entry| match entry {
            Entry::Used(value) => Some(value),
            Entry::Free(_) => None,
        })
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn numbers_are_used_again_and_nothing_is_kept() {
        let mut slab = Slab::new();
        let keys: Vec<usize> = (0..100).map(|n| slab.insert(n)).collect();
        for key in keys.iter().step_by(2) {
            assert_eq!(slab.remove(*key), Some(*key));
            assert_eq!(slab.remove(*key), None);
        }
        for n in 0..50 {
            assert!(slab.insert(n) < 100);
        }
        assert_eq!((slab.len(), slab.iter().count()), (100, 100));
        for key in 0..100 {
            assert!(slab.get_mut(key).is_some());
            slab.remove(key).unwrap();
        }
        assert_eq!((slab.len(), slab.entries.capacity()), (0, 0));
    }
}
