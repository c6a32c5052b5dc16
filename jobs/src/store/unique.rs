//! The jobs under a unique key: [`Holders`].

use std::collections::VecDeque;

/// Most keys have one job. Jobs whose [`Unique`](crate::Unique)s differ may share a key, and those
/// that have ended keep it for terms that name their state: each finds the newest one that has the
/// key by its own terms, also if a newer one has come and gone.
pub(super) struct Holders {
    newest: u64,
    older: Option<Box<Older>>,
}

struct Older {
    /// All that are still known, oldest first.
    known: VecDeque<u64>,
    /// Of these, those that had not ended when this list was tidied last. Most terms ask for no
    /// others, so that a key whose jobs end one after the other costs each of them the same.
    unfinished: Vec<u64>,
    /// The length of `unfinished` at which it is tidied. It doubles, so that a submission does not
    /// look at each of them.
    tidy_at: usize,
}

impl Holders {
    pub(super) fn new(number: u64) -> Self {
        Self {
            newest: number,
            older: None,
        }
    }

    /// Newest first. Without those `with_ended`, jobs that have ended may be among them, but need not.
    pub(super) fn newest_first(&self, with_ended: bool) -> impl Iterator<Item = u64> + '_ {
        let older = self.older.as_deref();
        let known = older.filter(|_| with_ended).map(|older| &older.known);
        let unfinished = older.filter(|_| !with_ended).map(|older| &older.unfinished);
        let known = known.into_iter().flat_map(|all| all.iter().rev());
        let unfinished = unfinished.into_iter().flat_map(|all| all.iter().rev());
        std::iter::once(self.newest).chain(known.chain(unfinished).copied())
    }

    /// A job that was not among them takes the key.
    pub(super) fn add(&mut self, number: u64, is_unfinished: impl Fn(u64) -> bool) {
        const FEW: usize = 8;
        let older = self.older.get_or_insert_with(|| {
            Box::new(Older {
                known: VecDeque::new(),
                unfinished: Vec::new(),
                tidy_at: FEW,
            })
        });
        older.known.push_back(self.newest);
        if is_unfinished(self.newest) {
            older.unfinished.push(self.newest);
        }
        if older.unfinished.len() >= older.tidy_at {
            older.unfinished.retain(|older| is_unfinished(*older));
            older.tidy_at = FEW.max(2 * older.unfinished.len());
        }
        self.newest = number;
    }

    /// One of them takes the key once more.
    pub(super) fn add_again(&mut self, number: u64, is_unfinished: impl Fn(u64) -> bool) {
        if self.newest != number {
            self.remove(number);
            self.add(number, is_unfinished);
        }
    }

    /// The job is forgotten. `true` if it was the last one.
    pub(super) fn remove(&mut self, number: u64) -> bool {
        let Some(older) = &mut self.older else {
            return self.newest == number;
        };
        let mut leaves = number;
        if self.newest == number {
            let Some(newest) = older.known.pop_back() else {
                return true;
            };
            (self.newest, leaves) = (newest, newest);
        } else if let Some(at) = older.known.iter().position(|known| *known == number) {
            // Most are forgotten oldest first.
            older.known.remove(at);
        }
        older.unfinished.retain(|unfinished| *unfinished != leaves);
        false
    }
}
