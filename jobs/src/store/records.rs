//! All records by their job's number: [`Records`].
//!
//! Numbers are given in order, and most jobs are forgotten in about that order. So a number is a
//! place in a table, and a lookup takes a few loads. Eight records are one allocation: one for each
//! record took a worker a tenth of its time, as the thread that frees a record is seldom the one
//! that made it. Parts of the table without jobs are given back: one old job that is kept costs one
//! and a half kilobytes, and eight bytes for each 4096 jobs that came after it.

use std::collections::VecDeque;

use super::record::Record;

/// Records in a leaf.
const LEAF: usize = 8;
/// Leaves in a page.
const PAGE: usize = 8;
/// Pages in a chunk.
const CHUNK: usize = 64;
/// Numbers in a chunk.
const NUMBERS: u64 = (LEAF * PAGE * CHUNK) as u64;

/// How many empty leaves are kept for the next jobs.
const SPARES: usize = 16;

#[derive(Default)]
pub(super) struct Records {
    /// The number of the first chunk.
    first: u64,
    chunks: VecDeque<Option<Box<Chunk>>>,
    #[allow(clippy::vec_box, reason = "they are in boxes already")]
    spares: Vec<Box<Leaf>>,
}

type Chunk = Table<Box<Page>, CHUNK>;
type Page = Table<Box<Leaf>, PAGE>;
type Leaf = Table<Record, LEAF>;

/// The entries at consecutive places.
struct Table<T, const N: usize> {
    places: [Option<T>; N],
    used: u32,
}

impl<T, const N: usize> Table<T, N> {
    fn new() -> Box<Self> {
        Box::new(Self {
            places: [const { None }; N],
            used: 0,
        })
    }

    #[inline]
    fn get_or_insert(&mut self, place: usize, make: impl FnOnce() -> T) -> &mut T {
        let found = &mut self.places[place];
        self.used += u32::from(found.is_none());
        found.get_or_insert_with(make)
    }

    #[inline]
    fn take(&mut self, place: usize) -> Option<T> {
        let taken = self.places[place].take();
        self.used -= u32::from(taken.is_some());
        taken
    }
}

/// Where a number is.
struct Places {
    chunk: u64,
    page: usize,
    leaf: usize,
    place: usize,
}

#[inline]
fn places(number: u64) -> Places {
    let within = (number % NUMBERS) as usize;
    Places {
        chunk: number / NUMBERS,
        page: within / (LEAF * PAGE),
        leaf: within / LEAF % PAGE,
        place: within % LEAF,
    }
}

impl Records {
    /// The record is made in its place.
    #[inline]
    pub(super) fn insert(&mut self, number: u64, make: impl FnOnce() -> Record) {
        let at = places(number);
        if self.chunks.is_empty() {
            self.first = at.chunk;
        }
        // Numbers grow, so the chunk is not before the first one.
        let chunk = (at.chunk - self.first) as usize;
        if chunk >= self.chunks.len() {
            self.chunks.resize_with(chunk + 1, || None);
        }
        let chunk = self.chunks[chunk].get_or_insert_with(Table::new);
        let page = chunk.get_or_insert(at.page, Table::new);
        let spares = &mut self.spares;
        let leaf = page.get_or_insert(at.leaf, || spares.pop().unwrap_or_else(Table::new));
        leaf.get_or_insert(at.place, make);
    }

    #[inline]
    pub(super) fn get(&self, number: u64) -> Option<&Record> {
        let at = places(number);
        let chunk = self.chunks.get(self.at(at.chunk)?)?.as_ref()?;
        let leaf = chunk.places[at.page].as_ref()?.places[at.leaf].as_ref()?;
        leaf.places[at.place].as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Record> {
        let at = places(number);
        let chunk = self.at(at.chunk)?;
        let chunk = self.chunks.get_mut(chunk)?.as_mut()?;
        let leaf = chunk.places[at.page].as_mut()?.places[at.leaf].as_mut()?;
        leaf.places[at.place].as_mut()
    }

    /// Destroys the record in its place, after `take` has taken out what its caller needs: a move of
    /// the record would cost as much as all the rest.
    #[inline]
    pub(super) fn remove<T>(
        &mut self,
        number: u64,
        take: impl FnOnce(&mut Record) -> T,
    ) -> Option<T> {
        let at = places(number);
        let of_chunks = self.at(at.chunk)?;
        let chunk = self.chunks.get_mut(of_chunks)?.as_mut()?;
        let page = chunk.places[at.page].as_mut()?;
        let leaf = page.places[at.leaf].as_mut()?;
        let record = &mut leaf.places[at.place];
        let taken = take(record.as_mut()?);
        *record = None;
        leaf.used -= 1;
        if leaf.used == 0 {
            self.remove_leaf(number);
        }
        Some(taken)
    }

    /// Gives back the empty leaf of that number, and what is empty without it.
    fn remove_leaf(&mut self, number: u64) -> Option<()> {
        let at = places(number);
        let of_chunks = self.at(at.chunk)?;
        let chunk = self.chunks.get_mut(of_chunks)?.as_mut()?;
        let page = chunk.places[at.page].as_mut()?;
        let leaf = page.take(at.leaf);
        if self.spares.len() < SPARES {
            self.spares.extend(leaf);
        }
        if page.used == 0 {
            chunk.take(at.page);
            if chunk.used == 0 {
                self.chunks[of_chunks] = None;
                while let Some(None) = self.chunks.front() {
                    self.chunks.pop_front();
                    self.first += 1;
                }
            }
        }
        Some(())
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.chunks.iter().flat_map(of_chunk)
    }

    /// From that number on.
    pub(super) fn from(&self, number: u64) -> impl Iterator<Item = &Record> {
        let at = (number / NUMBERS).saturating_sub(self.first) as usize;
        let chunks = self.chunks.range(at.min(self.chunks.len())..);
        chunks
            .flat_map(of_chunk)
            .skip_while(move |record| record.id.number() < number)
    }

    /// The records before that number, the last one first.
    pub(super) fn before(&self, number: u64) -> impl Iterator<Item = &Record> {
        let end = match (number / NUMBERS).checked_sub(self.first) {
            Some(at) => (at as usize).saturating_add(1).min(self.chunks.len()),
            None => 0,
        };
        let chunks = self.chunks.range(..end).rev();
        chunks
            .flat_map(|chunk| of_chunk(chunk).rev())
            .skip_while(move |record| record.id.number() >= number)
    }

    #[inline]
    fn at(&self, chunk: u64) -> Option<usize> {
        Some(chunk.checked_sub(self.first)? as usize)
    }
}

fn of_chunk(chunk: &Option<Box<Chunk>>) -> impl DoubleEndedIterator<Item = &Record> {
    let pages = chunk.iter().flat_map(|chunk| chunk.places.iter().flatten());
    let leaves = pages.flat_map(|page| page.places.iter().flatten());
    leaves.flat_map(|leaf| leaf.places.iter().flatten())
}
