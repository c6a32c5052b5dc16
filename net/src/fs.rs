//! Files, as calls that block: the standard library's functions on every runtime.
//!
//! ```
//! use fourway_core::{Call, Runtime};
//! use fourway_net::fs;
//! use std::io;
//!
//! async fn copy<R: Runtime>(rt: &R) -> io::Result<()> {
//!     let text = fs::read_to_string(rt, "in.txt").await?;
//!     fs::write(rt, "out.txt", text).await
//! }
//!
//! fn longest<R: Runtime>(rt: &R) -> io::Result<usize> {
//!     let mut longest = 0;
//!     for line in fs::lines(rt, "in.txt") { // in async code, `.next().await`
//!         longest = longest.max(line?.len());
//!     }
//!     Ok(longest)
//! }
//! ```
//!
//! On common systems, files do not report readiness. So reading a file blocks, where that is
//! allowed: for async code on the pool, for sync code on the calling thread. A function with one
//! result gives a [`Call`]. A function with many results gives [`Items`], which async code reads
//! ahead on the pool in batches: one hand-over for many lines. [`write_all_from`] writes many parts with
//! one hand-over.
//!
//! The rules for calls and items hold here: a call that is dropped before it has begun does
//! nothing, and a call that is dropped later runs to its end (OF-3, cancelled closures). After the
//! runtime's shutdown sync code goes on reading (SH-5, calls after the shutdown).

use std::{
    fs::{self, DirEntry, File, Metadata},
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    iter,
    path::PathBuf,
};

use fourway_core::{Call, Runtime, call::BoxCall};
use fourway_streams::{Items, Streams};

/// A blocking call, for one path.
macro_rules! of_a_path {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $output:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        #[doc = concat!("As [`std::fs::", stringify!($name), "`].")]
        pub fn $name<R: Runtime>(
            runtime: &R,
            path: impl Into<PathBuf>,
            $($arg: $type),*
        ) -> BoxCall<io::Result<$output>> {
            let path = path.into();
            $(let $arg = $arg.into();)*
            runtime.call_blocking(move || fs::$name(path, $($arg),*)).boxed()
        }
    )*};
}

of_a_path! {
    /// A whole file.
    read() -> Vec<u8>;
    /// A whole file, as text.
    read_to_string() -> String;
    /// Writes these bytes as a file, and replaces an existing one.
    write(contents: impl Into<Vec<u8>>) -> ();
    /// Copies a file, and gives its length.
    copy(to: impl Into<PathBuf>) -> u64;
    /// Moves a file or a directory.
    rename(to: impl Into<PathBuf>) -> ();
    /// The metadata of a file, or of the target of a link.
    metadata() -> Metadata;
    /// The metadata of a file, or of the link itself.
    symlink_metadata() -> Metadata;
    /// Its absolute path, without links.
    canonicalize() -> PathBuf;
    /// Makes a directory.
    create_dir() -> ();
    /// Creates a directory and its missing parents.
    create_dir_all() -> ();
    /// Removes a file.
    remove_file() -> ();
    /// Removes a directory, which must be empty.
    remove_dir() -> ();
    /// Removes a directory with all that is in it.
    remove_dir_all() -> ();
}

/// Writes these bytes at the end of a file, and creates it if it does not exist.
///
/// # Errors
///
/// As [`std::fs::OpenOptions::open`] and [`std::io::Write::write_all`].
pub fn append<R: Runtime>(
    runtime: &R,
    path: impl Into<PathBuf>,
    contents: impl Into<Vec<u8>>,
) -> BoxCall<io::Result<()>> {
    let (path, contents) = (path.into(), contents.into());
    let open = move || File::options().append(true).create(true).open(path);
    let append = move || open()?.write_all(&contents);
    runtime.call_blocking(append).boxed()
}

/// Writes these parts as a file, one after the other, and replaces an existing one. Gives its length.
///
/// The parts are taken where the file is written: for async code on the pool, with one hand-over for
/// all of them. There they may block, and need not fit in memory together. [`Items`] are such parts;
/// those of an iterator that cannot fail are `.map(Ok)`:
///
/// ```
/// use fourway_core::{Call, Runtime, call::BoxCall};
/// use fourway_net::fs;
/// use std::io;
///
/// fn number_lines<R: Runtime>(rt: &R) -> BoxCall<io::Result<u64>> {
///     let lines = fs::lines(rt, "in.txt").into_iter().enumerate();
///     let numbered = lines.map(|(n, line)| Ok(format!("{n} {}\n", line?)));
///     fs::write_all_from(rt, "out.txt", numbered)
/// }
/// ```
///
/// An existing file is emptied before the first part is taken, so parts cannot come from the same
/// file.
///
/// # Errors
///
/// As [`std::fs::File::create`] and [`std::io::Write::write_all`]; and the error of a part, after which
/// no other is taken. What came before it is in the file.
pub fn write_all_from<R: Runtime, T: AsRef<[u8]>>(
    runtime: &R,
    path: impl Into<PathBuf>,
    parts: impl IntoIterator<Item = io::Result<T>> + Send + 'static,
) -> BoxCall<io::Result<u64>> {
    let path = path.into();
    let write = move || {
        let (mut file, mut length) = (BufWriter::new(File::create(path)?), 0);
        let written = parts.into_iter().try_for_each(|part| {
            let part = part?;
            length += part.as_ref().len() as u64;
            file.write_all(part.as_ref())
        });
        // Also after the error of a part; the destructor would ignore an error.
        let flushed = file.flush();
        written.and(flushed).map(|()| length)
    };
    runtime.call_blocking(write).boxed()
}

/// The entries of a directory, in no order.
///
/// # Errors
///
/// As [`std::fs::read_dir`], in place of the first item. A later error comes at its
/// place.
pub fn read_dir<R: Runtime>(runtime: &R, path: impl Into<PathBuf>) -> Items<io::Result<DirEntry>> {
    let path = path.into();
    runtime.stream_blocking(move || flattened(fs::read_dir(path)))
}

/// The lines of a file, without their ends.
///
/// # Errors
///
/// If the file cannot be opened, the first item is the error. A later error comes at its place: a
/// line that is not UTF-8 ([`InvalidData`](io::ErrorKind::InvalidData)), after which the next lines
/// follow; or a failed read, which is the last item.
pub fn lines<R: Runtime>(runtime: &R, path: impl Into<PathBuf>) -> Items<io::Result<String>> {
    let path = path.into();
    runtime.stream_blocking(move || {
        let lines = File::open(path).map(|file| BufReader::new(file).lines());
        until_it_fails(flattened(lines), |error| {
            error.kind() == io::ErrorKind::InvalidData
        })
    })
}

/// A file in parts of this many bytes, the last of which may be shorter.
///
/// # Errors
///
/// If the file cannot be opened, the first item is the error. If it cannot be read further, the
/// last item is.
///
/// # Panics
///
/// If `length` is zero.
pub fn chunks<R: Runtime>(
    runtime: &R,
    path: impl Into<PathBuf>,
    length: usize,
) -> Items<io::Result<Vec<u8>>> {
    assert!(length > 0, "chunks of no bytes would have no end");
    let path = path.into();
    runtime.stream_blocking(move || {
        let chunks = File::open(path).map(|mut file| {
            let mut failed = None;
            iter::from_fn(move || next_chunk(&mut file, length, &mut failed))
        });
        until_it_fails(flattened(chunks), |_| false)
    })
}

/// A chunk is as long as is asked for only once it has so many bytes: a file may be far shorter.
const LARGEST_AT_FIRST: usize = 64 * 1024;

/// What was read before an error is given first, and the error, which is kept in `failed`, after it.
fn next_chunk(
    reader: &mut impl Read,
    length: usize,
    failed: &mut Option<io::Error>,
) -> Option<io::Result<Vec<u8>>> {
    if let Some(error) = failed.take() {
        return Some(Err(error));
    }
    let mut chunk = Vec::with_capacity(length.min(LARGEST_AT_FIRST));
    match reader.take(length as u64).read_to_end(&mut chunk) {
        Err(error) if chunk.is_empty() => return Some(Err(error)),
        Err(error) => *failed = Some(error),
        Ok(_) => {}
    }
    (!chunk.is_empty()).then_some(Ok(chunk))
}

/// The items, or the error as the only item.
fn flattened<T, I>(items: io::Result<I>) -> impl Iterator<Item = io::Result<T>> + Send
where
    T: Send,
    I: Iterator<Item = io::Result<T>> + Send,
{
    let (items, error) = match items {
        Ok(items) => (Some(items), None),
        Err(error) => (None, Some(Err(error))),
    };
    error.into_iter().chain(items.into_iter().flatten())
}

/// Ends after an error: a reader that goes on after a permanent error would never end.
fn until_it_fails<T>(
    mut items: impl Iterator<Item = io::Result<T>> + Send,
    may_go_on: impl Fn(&io::Error) -> bool + Send,
) -> impl Iterator<Item = io::Result<T>> + Send {
    let mut has_failed = false;
    iter::from_fn(move || {
        if has_failed {
            return None;
        }
        let item = items.next();
        has_failed = matches!(&item, Some(Err(error)) if !may_go_on(error));
        item
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives some bytes, then an error, again and again.
    struct Breaks(bool);

    impl Read for Breaks {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0 = !self.0;
            if !self.0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            buf[..3].copy_from_slice(b"abc");
            Ok(3)
        }
    }

    #[test]
    fn what_came_before_an_error_is_given_before_it() {
        let (mut reader, mut failed) = (Breaks(false), None);
        let mut next = || next_chunk(&mut reader, 8, &mut failed).unwrap();
        for _ in 0..2 {
            assert_eq!(next().unwrap(), b"abc");
            assert_eq!(next().unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
    }
}
