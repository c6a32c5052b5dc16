/// Values under numbers that are used again, so that adding and removing take constant time.
///
/// Its memory grows with the number of values at one time, and is freed when the last one leaves. A
/// single value takes no memory: most tokens have one child or one waiter.
#[derive(Debug)]
pub(super) struct Slab<T> {
    /// The value under zero.
    first: Option<T>,
    /// The values under the numbers from one on.
    entries: Vec<Entry<T>>,
    /// The first of the list of free entries; the length of `entries` if there is none.
    free: usize,
    /// How many there are in `entries`.
    more: usize,
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
            first: None,
            entries: Vec::new(),
            free: 0,
            more: 0,
        }
    }

    pub(super) fn insert(&mut self, value: T) -> usize {
        if self.first.is_none() {
            self.first = Some(value);
            return 0;
        }
        let at = self.free;
        match self.entries.get_mut(at) {
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
        self.more += 1;
        at + 1
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        let Some(at) = key.checked_sub(1) else {
            return self.first.as_mut();
        };
        match self.entries.get_mut(at) {
            Some(Entry::Used(value)) => Some(value),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: usize) -> Option<T> {
        let Some(at) = key.checked_sub(1) else {
            let value = self.first.take();
            self.give_back();
            return value;
        };
        let entry = self.entries.get_mut(at)?;
        if matches!(entry, Entry::Free(_)) {
            return None;
        }
        let Entry::Used(value) = std::mem::replace(entry, Entry::Free(self.free)) else {
            return None;
        };
        self.free = at;
        self.more -= 1;
        self.give_back();
        Some(value)
    }

    /// Frees the memory, unless a value is left: others come and go beside it.
    fn give_back(&mut self) {
        if self.first.is_none() && self.more == 0 && !self.entries.is_empty() {
            *self = Self::new();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let more = self.entries.iter().filter_map(|entry| match entry {
            Entry::Used(value) => Some(value),
            Entry::Free(_) => None,
        });
        self.first.iter().chain(more)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let more = self.entries.iter_mut().filter_map(|entry| match entry {
            Entry::Used(value) => Some(value),
            Entry::Free(_) => None,
        });
        self.first.iter_mut().chain(more)
    }

    pub(super) fn into_values(self) -> impl Iterator<Item = T> {
        let more = self.entries.into_iter().filter_map(|entry| match entry {
            Entry::Used(value) => Some(value),
            Entry::Free(_) => None,
        });
        self.first.into_iter().chain(more)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.more + usize::from(self.first.is_some())
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

    #[test]
    fn one_value_alone_takes_no_memory_and_the_others_keep_their_numbers() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.entries.capacity(), 0);
        let second = slab.insert('b');
        assert_eq!(slab.remove(first), Some('a'));
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut 'b'));
        assert_eq!(slab.insert('c'), first);
        assert_eq!(slab.iter().collect::<String>(), "cb");
        assert_eq!(slab.into_values().collect::<String>(), "cb");
    }
}
