//! Sources that could not be opened: [`opened`].

/// The items of a source, or the error that it could not be opened with, as the only item.
///
/// For bodies of streams, whose methods give an error as an item and not beforehand: nothing is
/// opened before the stream is used.
///
/// # Examples
///
/// ```
/// use fourway_core::Runtime;
/// use fourway_streams::{Items, Streams, opened};
/// use std::{fs, io, path::PathBuf};
///
/// fn folder<R: Runtime>(rt: &R, path: PathBuf) -> Items<io::Result<PathBuf>> {
///     rt.stream_blocking(move || opened(fs::read_dir(path)).map(|entry| Ok(entry?.path())))
/// }
/// ```
pub fn opened<I, T, E>(source: Result<I, E>) -> Opened<I::IntoIter, E>
where
    I: IntoIterator<Item = Result<T, E>>,
{
    Opened(source.map(IntoIterator::into_iter).map_err(Some))
}

/// The iterator that [`opened`] gives.
#[derive(Clone, Debug)]
#[must_use = "an iterator does nothing unless it is used"]
pub struct Opened<I, E>(Result<I, Option<E>>);

impl<I, T, E> Iterator for Opened<I, E>
where
    I: Iterator<Item = Result<T, E>>,
{
    type Item = Result<T, E>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Ok(items) => items.next(),
            Err(error) => error.take().map(Err),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Ok(items) => items.size_hint(),
            Err(error) => {
                let left = usize::from(error.is_some());
                (left, Some(left))
            }
        }
    }
}
