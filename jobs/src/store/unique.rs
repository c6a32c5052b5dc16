//! The jobs under a unique key: [`Holders`].

/// Most keys have one job. Jobs whose [`Unique`](crate::Unique)s differ may share a key: each finds
/// the newest one that has the key by its own terms, also if a newer one has come and gone.
pub(super) struct Holders {
    newest: u64,
    /// Jobs that had not ended when a newer one came, oldest first.
    older: Vec<u64>,
}

impl Holders {
    pub(super) fn new(number: u64) -> Self {
        Self {
            newest: number,
            older: Vec::new(),
        }
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = u64> + '_ {
        let older = self.older.iter().rev().copied();
        std::iter::once(self.newest).chain(older)
    }

    pub(super) fn add(&mut self, number: u64, is_unfinished: impl Fn(u64) -> bool) {
        self.older.push(self.newest);
        self.older
            .retain(|older| *older != number && is_unfinished(*older));
        self.newest = number;
    }

    /// The job is forgotten. `true` if it was the last one.
    pub(super) fn remove(&mut self, number: u64) -> bool {
        if self.newest != number {
            self.older.retain(|older| *older != number);
            return false;
        }
        match self.older.pop() {
            Some(newest) => self.newest = newest,
            None => return true,
        }
        false
    }
}
