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
//! No system that is in use has files that say when they are ready. So what reads one blocks, and
//! does so where it may: in async code on the pool, in sync code on the calling thread. What gives
//! one thing is a [`Call`]; what gives many gives [`Items`], which async code reads
//! ahead on the pool in batches: a hand-over for many lines, and not one for each.
//!
//! What holds for calls and for items holds here: a call that is dropped before it has begun
//! does nothing; one that is dropped later runs to its end (OF-3). After the runtime's
//! shutdown sync code goes on reading (SH-5).

use std::{
    fs::{self, DirEntry, File, Metadata},
    io::{self, BufRead, BufReader, Read},
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
    /// Makes a file of these bytes, in place of one that is there.
    write(contents: impl Into<Vec<u8>>) -> ();
    /// Copies a file, and gives its length.
    copy(to: impl Into<PathBuf>) -> u64;
    /// Moves a file or a directory.
    rename(to: impl Into<PathBuf>) -> ();
    /// What the system knows of a file, or of what a link leads to.
    metadata() -> Metadata;
    /// What the system knows of a file, or of the link itself.
    symlink_metadata() -> Metadata;
    /// Its absolute path, without links.
    canonicalize() -> PathBuf;
    /// Makes a directory.
    create_dir() -> ();
    /// Makes a directory, and those that it is to be in.
    create_dir_all() -> ();
    /// Removes a file.
    remove_file() -> ();
    /// Removes a directory, which must be empty.
    remove_dir() -> ();
    /// Removes a directory with all that is in it.
    remove_dir_all() -> ();
}

/// What is in a directory, in no order.
///
/// # Errors
///
/// As [`std::fs::read_dir`], in place of the first item; and what goes wrong later, at its
/// place.
pub fn read_dir<R: Runtime>(runtime: &R, path: impl Into<PathBuf>) -> Items<io::Result<DirEntry>> {
    let path = path.into();
    runtime.stream_blocking(move || flattened(fs::read_dir(path)))
}

/// The lines of a file, without what ends them.
///
/// # Errors
///
/// That it cannot be opened, in place of the first item; and what goes wrong later, at its
/// place: that a line is no UTF-8
/// ([`InvalidData`](io::ErrorKind::InvalidData)), after which the next follow, and that the file
/// cannot be read further, which is the last item.
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
/// That it cannot be opened, in place of the first item; that it cannot be read further, as
/// the last.
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
            iter::from_fn(move || {
                let mut chunk = Vec::with_capacity(length);
                let read = (&mut file).take(length as u64).read_to_end(&mut chunk);
                match read {
                    Ok(0) => None,
                    Ok(_) => Some(Ok(chunk)),
                    Err(error) => Some(Err(error)),
                }
            })
        });
        until_it_fails(flattened(chunks), |_| false)
    })
}

/// The items, or the one error that there are none.
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

/// Ends after an error: who reads on, past one that does not go away, would do so for ever.
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
