//! A library that is written once and called from anywhere: it discovers
//! `SKILL.md` files under a folder, parses and validates them, and loads one by
//! name with its arguments filled in.
//!
//! It depends on `fourway-core` and names no runtime. Methods are written as plain functions, and
//! `#[calls]` makes [`Call`]s of them. The library chooses an async or a blocking body; the caller
//! chooses to wait, to await or to spawn:
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
//!
//! [`blocking`] and [`asynchronous`] have the same methods with ordinary signatures: each waits for
//! or awaits the method here.

#![forbid(unsafe_code)]

mod error;
mod files;
mod front_matter;
mod parse;
mod substitute;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use fourway_core::{AnyRuntime, Call, Runtime};
use fourway_macros::calls;
use fourway_streams::Items;

pub use error::{Error, Problem};
pub use files::{SIZE_LIMIT, Walk, discover, read, walk};
pub use parse::{Skill, parse_bytes};
pub use substitute::{MissingArguments, substitute};

/// The skills under one folder.
#[derive(Clone, Debug)]
pub struct Skills<R = AnyRuntime> {
    rt: R,
    root: Arc<Path>,
    at_once: usize,
    size_limit: u64,
    reader: Reader,
}

/// A function that reads one file, up to a size in bytes; may block. [`read`] is one.
pub type Reader = fn(&Path, u64) -> Result<Skill, Problem>;

/// Everything found under a folder, in the order of the paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// The valid files.
    pub skills: Vec<Skill>,
    /// The problems of the other files. None of them stopped the rest.
    pub problems: Vec<Problem>,
}

#[calls(mirror)]
impl<R: Runtime> Skills<R> {
    /// The skills under `root`.
    pub fn new(rt: R, root: impl Into<PathBuf>) -> Self {
        Self {
            rt,
            root: root.into().into(),
            at_once: 8,
            size_limit: SIZE_LIMIT,
            reader: read,
        }
    }

    /// How many files [`gather`](Self::gather) reads at once, at most. Default: 8; at
    /// least 1.
    #[must_use]
    pub fn at_once(mut self, files: usize) -> Self {
        self.at_once = files.max(1);
        self
    }

    /// Larger files are a problem and are not read. In bytes; default: 1 MiB.
    #[must_use]
    pub fn size_limit(mut self, bytes: u64) -> Self {
        self.size_limit = bytes;
        self
    }

    /// How a file is read. Default: [`read`].
    #[must_use]
    pub fn reader(mut self, reader: Reader) -> Self {
        self.reader = reader;
        self
    }

    /// See [`discover`].
    #[blocking]
    pub fn discover(&self) -> Result<Vec<PathBuf>, Error> {
        discover(&self.root)
    }

    /// See [`read`].
    #[blocking]
    pub fn parse(&self, path: &Path) -> Result<Skill, Problem> {
        (self.reader)(path, self.size_limit)
    }

    /// Walks the folder and reads each file that it finds, on demand; for async callers some are
    /// read ahead.
    ///
    /// For a folder with more files than are wanted at once. Names are not compared; if the folder
    /// itself cannot be searched, this is the last problem.
    #[blocking]
    pub fn each(&self) -> Items<Result<Skill, Problem>> {
        let (root, read, size_limit) = (self.root.clone(), self.reader, self.size_limit);
        walk(&root).map(move |path| match path {
            Ok(path) => read(&path, size_limit),
            Err(error) => Err(Problem::new(&root, 1, error.to_string())),
        })
    }

    /// Reads all files, several at once, and while others are still being found.
    // With a blocking body, the thread of a sync caller finds the files itself.
    #[blocking]
    pub fn gather(&self) -> Result<Collection, Error> {
        let (read, size_limit) = (self.reader, self.size_limit);
        let results = self.paths().par_map(self.at_once, move |path| {
            let path = path?;
            let result = read(&path, size_limit);
            Ok((path, result))
        });
        let mut results = results.wait().into_iter().collect::<Result<Vec<_>, _>>()?;
        // In the order of `discover`: those behind links are found last.
        results.sort_by(|(one, _), (other, _)| one.cmp(other));
        results.dedup_by(|(one, _), (other, _)| one == other);
        Ok(collect(results))
    }

    /// See [`walk`].
    #[blocking]
    fn paths(&self) -> Items<Result<PathBuf, Error>> {
        walk(&self.root)
    }

    /// Finds one skill by name and fills in its arguments.
    pub async fn load(&self, name: &str, arguments: &[&str]) -> Result<String, Error> {
        let skills = self.gather().await?.skills;
        let skill = skills.into_iter().find(|skill| skill.name == name);
        let skill = skill.ok_or_else(|| Error::unknown(name))?;
        substitute(&skill.body, arguments).map_err(|missing| Error::arguments(name, missing))
    }
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
