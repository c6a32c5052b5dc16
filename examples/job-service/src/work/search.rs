//! A search that needs only processor time: the longest Collatz sequence.
//!
//! Half of a number if it is even, three times it and one if it is odd, and so on until 1: which
//! start below a bound takes the most steps? The only known way is to try them all.

use std::ops::Range;

use fourway_core::{BoxCall, Call, Runtime, cancel};
use serde::Serialize;

use super::{Error, Progress, Toolbox, several, share};

/// The start with the longest sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Longest {
    /// The smallest number that starts a sequence of that length.
    pub start: u64,
    /// How many numbers are in it, with both ends.
    pub length: u64,
    /// The bound of the search.
    pub below: u64,
}

/// The largest bound. Up to here no sequence leaves 64 bits.
pub const LIMIT: u64 = 1_000_000_000;

/// How many starts are tried between two checks of the token: some milliseconds.
const CHUNK: u64 = 10_000;

impl<R: Runtime> Toolbox<R> {
    /// Tries all starts, on one thread. Its body blocks.
    pub fn search(&self, below: u64, progress: impl Progress) -> BoxCall<Result<Longest, Error>> {
        let call = self.rt.call_blocking(move || {
            let mut best = Best::new(below, progress)?;
            for chunk in chunks(below) {
                cancel::check()?;
                best.add(search(chunk.clone()), chunk);
            }
            Ok(best.finish())
        });
        call.boxed()
    }

    /// Tries all starts, on several threads. Its body is async.
    pub fn search_async(
        &self,
        below: u64,
        progress: impl Progress,
    ) -> BoxCall<Result<Longest, Error>> {
        let rt = self.rt.clone();
        let call = self.rt.call_with(async move || {
            let mut best = Best::new(below, progress)?;
            let start = |chunk: &Range<u64>| {
                let chunk = chunk.clone();
                rt.call_blocking(move || search(chunk))
            };
            let searched = |chunk, found| {
                best.add(found, chunk);
                Ok(())
            };
            several(chunks(below), start, searched).await?;
            Ok(best.finish())
        });
        call.boxed()
    }
}

fn chunks(below: u64) -> impl Iterator<Item = Range<u64>> {
    (1..below)
        .step_by(CHUNK as usize)
        .map(move |start| start..(start + CHUNK).min(below))
}

/// The first start with the longest sequence, and its length.
fn search(starts: Range<u64>) -> (u64, u64) {
    let mut longest = (0, 0);
    for start in starts {
        let (mut number, mut length) = (start, 1);
        while number != 1 {
            number = if number % 2 == 0 {
                number / 2
            } else {
                3 * number + 1
            };
            length += 1;
        }
        if length > longest.1 {
            longest = (start, length);
        }
    }
    longest
}

struct Best<P> {
    longest: Longest,
    tried: u64,
    progress: P,
}

impl<P: Progress> Best<P> {
    fn new(below: u64, progress: P) -> Result<Self, Error> {
        check(below)?;
        let longest = Longest {
            start: 1,
            length: 1,
            below,
        };
        Ok(Self {
            longest,
            tried: 0,
            progress,
        })
    }

    fn add(&mut self, (start, length): (u64, u64), chunk: Range<u64>) {
        if length > self.longest.length {
            (self.longest.start, self.longest.length) = (start, length);
            self.progress
                .message(&format!("{start} has a sequence of {length}"));
        }
        self.tried += chunk.end - chunk.start;
        self.progress.count("tried", chunk.end - chunk.start);
        self.progress
            .fraction(share(self.tried, self.longest.below - 1));
    }

    fn finish(self) -> Longest {
        self.progress.fraction(1.0);
        self.longest
    }
}

/// # Errors
///
/// [`Error::Range`] if there is no such search.
pub(crate) fn check(below: u64) -> Result<(), Error> {
    if (2..=LIMIT).contains(&below) {
        Ok(())
    } else {
        Err(Error::Range {
            given: below,
            limit: LIMIT,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sequences() {
        assert_eq!(search(1..2), (1, 1));
        assert_eq!(search(1..10), (9, 20));
        assert_eq!(search(1..1000), (871, 179));
    }

    #[test]
    fn chunks_are_the_whole() {
        for below in [2, 3, CHUNK, CHUNK + 1, CHUNK + 2, 3 * CHUNK + 7] {
            let mut next = 1;
            for chunk in chunks(below) {
                assert_eq!(chunk.start, next);
                next = chunk.end;
            }
            assert_eq!(next, below);
        }
    }
}
