//! All records by their job's number: [`Records`].
//!
//! Numbers are given in order, and most jobs are forgotten in about that order. So a number is a
//! place in a table, and a lookup takes three loads. Parts of the table without jobs are
//! given back: one old job that is kept costs a few hundred bytes, and eight for each 4096 jobs
//! that came after it.

use std::collections::VecDeque;

use super::record::Record;

const PAGE: u64 = 64;
const CHUNK: u64 = PAGE * PAGE;

#[derive(Default)]
pub(super) struct Records {
    /// The number of the first chunk.
    first: u64,
    chunks: VecDeque<Chunk>,
}

type Chunk = Option<Box<Table<Box<Table<Box<Record>>>>>>;

/// The entries at 64 consecutive places.
struct Table<T> {
    places: [Option<T>; PAGE as usize],
    used: u32,
}

impl<T> Table<T> {
    fn new() -> Box<Self> {
        Box::new(Self {
            places: [const { None }; PAGE as usize],
            used: 0,
        })
    }

    fn get_or_insert(&mut self, place: usize, make: impl FnOnce() -> T) -> &mut T {
        let found = &mut self.places[place];
        self.used += u32::from(found.is_none());
        found.get_or_insert_with(make)
    }

    fn take(&mut self, place: usize) -> Option<T> {
        let taken = self.places[place].take();
        self.used -= u32::from(taken.is_some());
        taken
    }
}

/// Where a number is: its chunk, its page in that, and its place in that.
fn places(number: u64) -> (u64, usize, usize) {
    let page = (number / PAGE) % PAGE;
    (number / CHUNK, page as usize, (number % PAGE) as usize)
}

impl Records {
    pub(super) fn insert(&mut self, number: u64, record: Box<Record>) {
        let (chunk, page, place) = places(number);
        if self.chunks.is_empty() {
            self.first = chunk;
        }
        // Numbers grow, so the chunk is not before the first one.
        let at = (chunk - self.first) as usize;
        if at >= self.chunks.len() {
            self.chunks.resize_with(at + 1, || None);
        }
        let chunk = self.chunks[at].get_or_insert_with(Table::new);
        let page = chunk.get_or_insert(page, Table::new);
        page.get_or_insert(place, || record);
    }

    #[inline]
    pub(super) fn get(&self, number: u64) -> Option<&Record> {
        let (chunk, page, place) = places(number);
        let chunk = self.chunks.get(self.at(chunk)?)?.as_ref()?;
        chunk.places[page].as_ref()?.places[place].as_deref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Record> {
        let (chunk, page, place) = places(number);
        let at = self.at(chunk)?;
        let chunk = self.chunks.get_mut(at)?.as_mut()?;
        chunk.places[page].as_mut()?.places[place].as_deref_mut()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Box<Record>> {
        let (chunk, page, place) = places(number);
        let at = self.at(chunk)?;
        let of_chunk = self.chunks.get_mut(at)?.as_mut()?;
        let of_page = of_chunk.places[page].as_mut()?;
        let record = of_page.take(place)?;
        if of_page.used == 0 {
            of_chunk.take(page);
            if of_chunk.used == 0 {
                self.chunks[at] = None;
                while let Some(None) = self.chunks.front() {
                    self.chunks.pop_front();
                    self.first += 1;
                }
            }
        }
        Some(record)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.chunks.iter().flat_map(of_chunk)
    }

    /// From that number on.
    pub(super) fn from(&self, number: u64) -> impl Iterator<Item = &Record> {
        let at = (number / CHUNK).saturating_sub(self.first) as usize;
        let chunks = self.chunks.range(at.min(self.chunks.len())..);
        chunks
            .flat_map(of_chunk)
            .skip_while(move |record| record.id.number() < number)
    }

    /// The records before that number, the last one first.
    pub(super) fn before(&self, number: u64) -> impl Iterator<Item = &Record> {
        let end = match (number / CHUNK).checked_sub(self.first) {
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

fn of_chunk(chunk: &Chunk) -> impl DoubleEndedIterator<Item = &Record> {
    let pages = chunk.iter().flat_map(|chunk| chunk.places.iter().flatten());
    pages.flat_map(|page| page.places.iter().filter_map(Option::as_deref))
}
