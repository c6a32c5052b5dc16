//! A library that is written once and called from anywhere: it discovers
//! `SKILL.md` files under a folder, parses and validates them, and loads one by
//! name with its arguments filled in.
//!
//! It depends on `fourway-core` alone and names no runtime. Each method returns a
//! [`Call`]; whether its body is async or may block is the library's business, and
//! whether it is waited for, awaited or spawned is the caller's:
//!
//! ```
//! use fourway_core::{Call, Runtime};
//! use skillkit::{Error, Skills};
//!
//! fn sync_code<R: Runtime>(skills: &Skills<R>) -> Result<usize, Error> {
//!     Ok(skills.gather().wait()?.skills.len())
//! }
//!
//! async fn async_code<R: Runtime>(skills: &Skills<R>) -> Result<usize, Error> {
//!     Ok(skills.gather().await?.skills.len())
//! }
//! ```

#![forbid(unsafe_code)]

mod error;
mod parse;
mod substitute;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use fourway_core::{AnyRuntime, Call, Runtime};
use futures_util::{StreamExt, stream};
use walkdir::WalkDir;

pub use error::{Error, Problem};
pub use parse::{Skill, parse_bytes};
pub use substitute::{MissingArguments, substitute};

/// The skills under one folder.
#[derive(Clone, Debug)]
pub struct Skills<R = AnyRuntime> {
    runtime: R,
    root: PathBuf,
    at_once: usize,
    size_limit: u64,
}

/// Everything found under a folder, in the order of the paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// The files that are in order.
    pub skills: Vec<Skill>,
    /// What is wrong with the others. None of them stopped the rest.
    pub problems: Vec<Problem>,
}

impl<R: Runtime> Skills<R> {
    /// The skills under `root`.
    pub fn new(runtime: R, root: impl Into<PathBuf>) -> Self {
        Self {
            runtime,
            root: root.into(),
            at_once: 8,
            size_limit: SIZE_LIMIT,
        }
    }

    /// How many files [`gather`](Self::gather) parses at once. Default: 8; at
    /// least 1.
    #[must_use]
    pub fn at_once(mut self, files: usize) -> Self {
        self.at_once = files.max(1);
        self
    }

    /// Larger files are a problem, and not read. In bytes; default: 1 MiB.
    #[must_use]
    pub fn size_limit(mut self, bytes: u64) -> Self {
        self.size_limit = bytes;
        self
    }

    /// See [`discover`].
    pub fn discover(&self) -> impl Call<Output = Result<Vec<PathBuf>, Error>> + use<R> {
        let root = self.root.clone();
        self.runtime.call_blocking(move || discover(&root))
    }

    /// See [`read`].
    pub fn parse(&self, path: &Path) -> impl Call<Output = Result<Skill, Problem>> + use<R> {
        let (path, size_limit) = (path.to_owned(), self.size_limit);
        self.runtime.call_blocking(move || read(&path, size_limit))
    }

    /// Parses all files, several at once.
    pub fn gather(&self) -> impl Call<Output = Result<Collection, Error>> + use<R> {
        let this = self.clone();
        self.runtime.call(async move {
            let paths = this.discover().await?;
            let parses = paths.into_iter().map(|path| {
                let call = this.parse(&path);
                async move { (path, call.await) }
            });
            let results: Vec<_> = stream::iter(parses).buffered(this.at_once).collect().await;
            Ok(collect(results))
        })
    }

    /// Finds one skill by name and fills in its arguments.
    pub fn load(
        &self,
        name: &str,
        arguments: &[&str],
    ) -> impl Call<Output = Result<String, Error>> + use<R> {
        let name = name.to_owned();
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        self.gather().map(move |collection| {
            let skill = collection?
                .skills
                .into_iter()
                .find(|skill| skill.name == name)
                .ok_or_else(|| Error::unknown(&name))?;
            substitute(&skill.body, &arguments).map_err(|missing| Error::arguments(&name, missing))
        })
    }
}

/// The size of a file from which on it is not read, in bytes, unless
/// [`Skills::size_limit`] says otherwise: 1 MiB.
pub const SIZE_LIMIT: u64 = 1 << 20;

/// The paths of all that is called `SKILL.md` under `root`, sorted; may block. Follows
/// symbolic links, but no loops.
///
/// What is in the way of the search is among them, such as a dangling link or a folder that
/// may not be entered: [`read`] says what is wrong with it, and the others are found.
///
/// # Errors
///
/// If `root` itself cannot be searched.
pub fn discover(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for entry in WalkDir::new(root).follow_links(true) {
        match entry {
            Ok(entry) if entry.depth() > 0 && entry.file_name() == "SKILL.md" => {
                paths.push(entry.into_path());
            }
            Ok(_) => {}
            // A loop was not followed, and what is in it is found by its own path.
            Err(error) if error.loop_ancestor().is_some() => {}
            Err(error) => match error.path() {
                Some(path) if error.depth() > 0 => paths.push(path.to_owned()),
                _ => return Err(Error::discovery(root, error)),
            },
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads and parses one file; may block, but not on what never ends: a FIFO or a device is
/// not opened.
///
/// # Errors
///
/// What is wrong with it.
pub fn read(path: &Path, size_limit: u64) -> Result<Skill, Problem> {
    let problem = |reason: String| Problem::new(path, 1, reason);
    let unreadable = |error: io::Error| problem(format!("cannot be read: {error}"));
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        // A folder is in the list if it is called so, or cannot be searched.
        let reason = fs::read_dir(path).map_or_else(unreadable, |_| {
            problem(String::from("is a folder; a skill is a file"))
        });
        return Err(reason);
    }
    if !metadata.is_file() {
        let reason = "is neither a file nor a folder, and is not opened";
        return Err(problem(reason.into()));
    }
    let size = metadata.len();
    if size > size_limit {
        let reason = format!("is {size} bytes long; the limit is {size_limit}");
        return Err(problem(reason));
    }
    parse_bytes(path, &fs::read(path).map_err(unreadable)?)
}

/// Sorts results into skills and problems. Names must be unique: of two files with
/// one name, the later path is a problem.
pub fn collect(results: Vec<(PathBuf, Result<Skill, Problem>)>) -> Collection {
    let mut collection = Collection::default();
    let mut seen: HashMap<String, PathBuf> = HashMap::new();
    for (path, result) in results {
        match result {
            Err(problem) => collection.problems.push(problem),
            Ok(skill) => match seen.get(&skill.name) {
                Some(first) => {
                    let reason =
                        format!("the name `{}` is taken by {}", skill.name, first.display());
                    let line = skill.name_line;
                    collection.problems.push(Problem::new(&path, line, reason));
                }
                None => {
                    seen.insert(skill.name.clone(), path);
                    collection.skills.push(skill);
                }
            },
        }
    }
    collection
}
