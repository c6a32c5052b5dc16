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
mod files;
mod front_matter;
mod parse;
mod substitute;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use fourway_core::{AnyRuntime, Call, Runtime};

pub use error::{Error, Problem};
pub use files::{SIZE_LIMIT, discover, read};
pub use parse::{Skill, parse_bytes};
pub use substitute::{MissingArguments, substitute};

/// The skills under one folder.
#[derive(Clone, Debug)]
pub struct Skills<R = AnyRuntime> {
    runtime: R,
    root: PathBuf,
    at_once: usize,
    size_limit: u64,
    reader: Reader,
}

/// Reads one file, up to a size in bytes; may block. [`read`] is one.
pub type Reader = fn(&Path, u64) -> Result<Skill, Problem>;

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

    /// Larger files are a problem, and not read. In bytes; default: 1 MiB.
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
    pub fn discover(&self) -> impl Call<Output = Result<Vec<PathBuf>, Error>> + use<R> {
        let root = self.root.clone();
        self.runtime.call_blocking(move || discover(&root))
    }

    /// See [`read`].
    pub fn parse(&self, path: &Path) -> impl Call<Output = Result<Skill, Problem>> + use<R> {
        let (path, read, size_limit) = (path.to_owned(), self.reader, self.size_limit);
        self.runtime.call_blocking(move || read(&path, size_limit))
    }

    /// Reads all files, several at once.
    pub fn gather(&self) -> impl Call<Output = Result<Collection, Error>> + use<R> {
        let this = self.clone();
        self.runtime.call_with(async move || {
            let files = Files::new(this.discover().await?);
            // A few calls share the files, for to hand over a call costs as much as to read a
            // small file. As many as may run at once, and not as there are processors: while
            // one waits for a slow disk, the next can run.
            let shares = this.at_once.min(files.paths.len());
            let shares: Vec<_> = (0..shares).map(|_| this.share(&files).spawn()).collect();
            let mut results = Vec::with_capacity(files.paths.len());
            for share in shares {
                let share = share.await;
                results.extend(share.unwrap_or_else(|error| error.resume_unwind()));
            }
            results.sort_unstable_by_key(|(at, _)| *at);
            let path = |(at, result): (usize, _)| (files.paths[at].clone(), result);
            Ok(collect(results.into_iter().map(path).collect()))
        })
    }

    /// Reads one file after another, until there are none left that nobody has taken.
    fn share(&self, files: &Arc<Files>) -> impl Call<Output = Vec<Numbered>> + use<R> {
        let (files, read, size_limit) = (files.clone(), self.reader, self.size_limit);
        self.runtime.call_blocking(move || {
            let next = std::iter::from_fn(|| files.take());
            next.map(|at| (at, read(&files.paths[at], size_limit)))
                .collect()
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

/// Files that are read by several at once.
struct Files {
    paths: Vec<PathBuf>,
    next: AtomicUsize,
}

/// The result for a file, by its place in the list.
type Numbered = (usize, Result<Skill, Problem>);

impl Files {
    fn new(paths: Vec<PathBuf>) -> Arc<Self> {
        let next = AtomicUsize::new(0);
        Arc::new(Self { paths, next })
    }

    /// The place of a file that nobody else has taken.
    fn take(&self) -> Option<usize> {
        // Pairs with nothing: only the number counts. The files were there before anyone
        // was given them.
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        (at < self.paths.len()).then_some(at)
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
