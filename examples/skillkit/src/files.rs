//! Access to the disk: finding the files, and reading one.

use std::{
    collections::{HashSet, VecDeque},
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
};

use walkdir::{DirEntry, WalkDir};

use crate::{Error, Problem, Skill, parse_bytes};

/// Larger files are not read, by default; in bytes: 1 MiB.
/// [`Skills::size_limit`](crate::Skills::size_limit) changes it.
pub const SIZE_LIMIT: u64 = 1 << 20;

const NAME: &str = "SKILL.md";

/// The paths of all entries named `SKILL.md` under `root`, sorted; may block.
///
/// It runs [`walk`] to its end.
///
/// # Errors
///
/// If `root` itself cannot be searched.
pub fn discover(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = walk(root).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// The paths of all entries named `SKILL.md` under `root`, searched on demand; may block. In the
/// order of the paths, except those behind links.
///
/// Symbolic links are followed after everything else, and each folder is searched once. So the
/// search ends wherever a link leads, even to the whole disk.
///
/// Obstacles of the search, such as a dangling link or a folder without permission, are among the
/// paths: [`read`] gives their problem, and the other paths are found. If `root` itself cannot be
/// searched, the error is the last item.
pub fn walk(root: &Path) -> Walk {
    let start = || {
        let real = fs::canonicalize(root)?;
        match real.is_dir() {
            true => Ok(real),
            false => Err(io::ErrorKind::NotADirectory.into()),
        }
    };
    let mut walk = Walk {
        root: root.to_owned(),
        failed: None,
        searched: HashSet::new(),
        to_search: VecDeque::new(),
        folder: None,
    };
    match start() {
        Ok(real) => walk.to_search.push_back((root.to_owned(), real)),
        Err(error) => walk.failed = Some(error),
    }
    walk
}

/// The iterator of [`walk`].
#[derive(Debug)]
pub struct Walk {
    root: PathBuf,
    failed: Option<io::Error>,
    /// By their real paths, which have no links in them.
    searched: HashSet<PathBuf>,
    /// The targets of links: their own paths, and the real ones.
    to_search: VecDeque<(PathBuf, PathBuf)>,
    folder: Option<Folder>,
}

/// A folder that is being searched, with all below it.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    real: PathBuf,
    entries: walkdir::IntoIter,
    /// The folders below it that lead to the last entry, from above.
    open: Vec<PathBuf>,
}

impl Folder {
    fn entered(&mut self, depth: usize, path: &Path) {
        if let Some(above) = depth.checked_sub(1) {
            self.open.truncate(above);
            self.open.push(path.to_owned());
        }
    }

    /// What an error is about. It has no path if a folder was opened and its entries cannot be read:
    /// then it has the depth at which these would be.
    fn of_error<'a>(&'a self, path: Option<&'a Path>, depth: usize) -> &'a Path {
        let above = depth.checked_sub(2).and_then(|above| self.open.get(above));
        path.or(above.map(PathBuf::as_path)).unwrap_or(&self.path)
    }
}

impl Iterator for Walk {
    type Item = Result<PathBuf, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(error) = self.failed.take() {
                (self.folder, self.to_search) = (None, VecDeque::new());
                return Some(Err(Error::discovery(&self.root, error)));
            }
            let Some(folder) = &mut self.folder else {
                let (path, real) = self.to_search.pop_front()?;
                if self.searched.insert(real.clone()) {
                    // By name, so that of two links to one folder always the same one
                    // is followed.
                    let entries = WalkDir::new(&path).sort_by_file_name().into_iter();
                    self.folder = Some(Folder {
                        path,
                        real,
                        entries,
                        open: Vec::new(),
                    });
                }
                continue;
            };
            match folder.entries.next() {
                Some(Ok(entry)) => {
                    let is_folder = entry.depth() > 0 && entry.file_type().is_dir();
                    let below = entry.path().strip_prefix(&folder.path);
                    let real = folder.real.join(below.unwrap_or(entry.path()));
                    if is_folder && !self.searched.insert(real) {
                        folder.entries.skip_current_dir();
                        continue;
                    }
                    if is_folder {
                        folder.entered(entry.depth(), entry.path());
                    }
                    let target = target(&entry);
                    let is_named = entry.depth() > 0 && entry.file_name() == NAME;
                    let is_found = is_named || target.is_err();
                    let path = entry.into_path();
                    if let Ok(Some(target)) = target {
                        self.to_search.push_back((path.clone(), target));
                    }
                    if is_found {
                        return Some(Ok(path));
                    }
                }
                Some(Err(error)) => {
                    let path = folder.of_error(error.path(), error.depth()).to_owned();
                    if path != self.root {
                        return Some(Ok(path));
                    }
                    // Without the path, which is shown once.
                    let error = error.into_io_error();
                    self.failed = Some(error.unwrap_or(io::ErrorKind::Other.into()));
                }
                None => self.folder = None,
            }
        }
    }
}

/// The folder that a link leads to, if it is a link to a folder.
fn target(entry: &DirEntry) -> io::Result<Option<PathBuf>> {
    // The root is not a new folder, even if it is a link.
    let is_link = entry.depth() > 0 && entry.file_type().is_symlink();
    if !is_link || !fs::metadata(entry.path())?.is_dir() {
        return Ok(None);
    }
    fs::canonicalize(entry.path()).map(Some)
}

/// Reads and parses one file; may block, but not for ever: it opens no FIFO or device, and reads at
/// most `size_limit` bytes.
///
/// # Errors
///
/// The problem of the file.
pub fn read(path: &Path, size_limit: u64) -> Result<Skill, Problem> {
    // Before it is opened: even opening a device may have an effect.
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if check(path, &metadata, size_limit)? == 0 {
        // It is empty; or its content is made on reading, as under `/proc`, where reading may wait
        // for ever or take data from other readers.
        return parse_bytes(path, &[]);
    }
    parse_bytes(path, &contents(path, size_limit)?)
}

/// The bytes of a file that was checked before, and may have been replaced since.
fn contents(path: &Path, size_limit: u64) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut read = || -> io::Result<Result<u64, Problem>> {
        let file = open(path)?;
        let checked = check(path, &file.metadata()?, size_limit);
        if checked.is_ok() {
            // One more shows that it has grown.
            let limit = size_limit.saturating_add(1);
            file.take(limit).read_to_end(&mut bytes)?;
        }
        Ok(checked)
    };
    read().map_err(|error| unreadable(path, &error))??;
    if bytes.len() as u64 > size_limit {
        return Err(too_long(path, "more than", size_limit, size_limit));
    }
    Ok(bytes)
}

/// Does not wait: without this flag, opening a FIFO waits for a writer.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags(flags.bits() as i32);
    }
    options.open(path)
}

/// The size of the file, if it is one that can be read.
fn check(path: &Path, metadata: &Metadata, size_limit: u64) -> Result<u64, Problem> {
    if metadata.is_dir() {
        // A folder is in the list if it has that name, or cannot be searched.
        let searched = fs::read_dir(path)
            .and_then(|mut entries| entries.try_for_each(|entry| entry.map(drop)));
        return Err(match searched {
            Ok(()) if path.file_name() == Some(NAME.as_ref()) => {
                Problem::new(path, 1, "is a folder; a skill is a file")
            }
            Ok(()) => Problem::new(path, 1, "could not be searched, though it can be by now"),
            Err(error) => unreadable(path, &error),
        });
    }
    if !metadata.is_file() {
        let reason = "is neither a file nor a folder, and is not opened";
        return Err(Problem::new(path, 1, reason));
    }
    let size = metadata.len();
    if size > size_limit {
        return Err(too_long(path, "", size, size_limit));
    }
    Ok(size)
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(path, 1, format!("cannot be read: {error}"))
}

fn too_long(path: &Path, prefix: &str, size: u64, limit: u64) -> Problem {
    let space = if prefix.is_empty() { "" } else { " " };
    let reason = format!("is {prefix}{space}{size} bytes long; the limit is {limit}");
    Problem::new(path, 1, reason)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::process::Command;

    /// As if the file had been replaced after the check.
    #[test]
    fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        let problem = contents(&path, SIZE_LIMIT).unwrap_err();
        assert!(problem.reason.contains("neither a file"), "{problem}");
    }

    #[test]
    fn an_error_without_a_path_is_of_the_folder_that_was_being_read() {
        let path = |path: &str| PathBuf::from(path);
        let mut folder = Folder {
            path: path("a"),
            real: path("/a"),
            entries: WalkDir::new("a").into_iter(),
            open: Vec::new(),
        };
        assert_eq!(folder.of_error(None, 0), path("a"));
        assert_eq!(folder.of_error(None, 1), path("a"));
        for (depth, entered) in [(1, "a/b"), (2, "a/b/c"), (1, "a/d"), (2, "a/d/e")] {
            folder.entered(depth, Path::new(entered));
        }
        assert_eq!(folder.of_error(None, 1), path("a"));
        assert_eq!(folder.of_error(None, 2), path("a/d"));
        assert_eq!(folder.of_error(None, 3), path("a/d/e"));
        assert_eq!(folder.of_error(Some(Path::new("a/x")), 1), path("a/x"));
    }

    #[test]
    fn a_file_that_has_grown_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, "1234").unwrap();
        assert_eq!(contents(&path, 4), Ok(b"1234".to_vec()));
        // The kernel reports size 0, and gives more, like a growing file.
        if Path::new("/proc/self/status").exists() {
            let problem = contents(Path::new("/proc/self/status"), 8).unwrap_err();
            assert!(problem.reason.contains("more than 8 bytes"), "{problem}");
        }
    }
}
