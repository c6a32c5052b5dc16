//! What is on the disk: finding the files, and reading one.

use std::{
    collections::{HashSet, VecDeque},
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
};

use walkdir::{DirEntry, WalkDir};

use crate::{Error, Problem, Skill, parse_bytes};

/// The size of a file from which on it is not read, in bytes, unless
/// [`Skills::size_limit`](crate::Skills::size_limit) says otherwise: 1 MiB.
pub const SIZE_LIMIT: u64 = 1 << 20;

const NAME: &str = "SKILL.md";

/// The paths of all that is called `SKILL.md` under `root`, sorted; may block.
///
/// It is [`walk`], to its end.
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

/// The paths of all that is called `SKILL.md` under `root`, searched for as they are asked for;
/// may block. In the order of the paths, but for what is behind links.
///
/// Symbolic links are followed after all that is there without them, and each folder is
/// searched once: so the search ends wherever a link leads, be it the whole disk.
///
/// What is in the way of the search is among the paths, such as a dangling link or a folder
/// that may not be entered: [`read`] says what is wrong with it, and the others are found. If
/// `root` itself cannot be searched, that is the last item.
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
    /// What links lead to: their own paths, and the real ones.
    to_search: VecDeque<(PathBuf, PathBuf)>,
    folder: Option<Folder>,
}

/// One that is searched, with all below it.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    real: PathBuf,
    entries: walkdir::IntoIter,
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
                    // By name, so that of two links to one folder it is always the same that
                    // is followed.
                    let entries = WalkDir::new(&path).sort_by_file_name().into_iter();
                    self.folder = Some(Folder {
                        path,
                        real,
                        entries,
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
                Some(Err(error)) => match error.path() {
                    Some(path) if path != self.root => return Some(Ok(path.to_owned())),
                    // Without the path, which is said once.
                    _ => {
                        let error = error.into_io_error();
                        self.failed = Some(error.unwrap_or(io::ErrorKind::Other.into()));
                    }
                },
                None => self.folder = None,
            }
        }
    }
}

/// The folder that a link leads to, if it is a link to a folder.
fn target(entry: &DirEntry) -> io::Result<Option<PathBuf>> {
    // What the search began with is no new one, even if it is a link.
    let is_link = entry.depth() > 0 && entry.file_type().is_symlink();
    if !is_link || !fs::metadata(entry.path())?.is_dir() {
        return Ok(None);
    }
    fs::canonicalize(entry.path()).map(Some)
}

/// Reads and parses one file; may block, but not on what never ends: a FIFO or a device is
/// not opened, and no more than `size_limit` bytes are read.
///
/// # Errors
///
/// What is wrong with it.
pub fn read(path: &Path, size_limit: u64) -> Result<Skill, Problem> {
    // Before it is opened: opening a device alone may do something.
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if check(path, &metadata, size_limit)? == 0 {
        // It is empty; or made up when it is read, as under `/proc`, where reading may wait
        // for good or use up what others wait for.
        return parse_bytes(path, &[]);
    }
    parse_bytes(path, &contents(path, size_limit)?)
}

/// The bytes of what has been looked at, and may have been replaced since.
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

/// Waits for nobody: without this, opening a FIFO waits for one who writes.
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
        // A folder is in the list if it is called so, or cannot be searched.
        return Err(match fs::read_dir(path) {
            Ok(_) => Problem::new(path, 1, "is a folder; a skill is a file"),
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

    /// As if it had been put there after the look.
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
    fn a_file_that_has_grown_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, "1234").unwrap();
        assert_eq!(contents(&path, 4), Ok(b"1234".to_vec()));
        // The kernel says 0, and gives more: as what grows.
        if Path::new("/proc/self/status").exists() {
            let problem = contents(Path::new("/proc/self/status"), 8).unwrap_err();
            assert!(problem.reason.contains("more than 8 bytes"), "{problem}");
        }
    }
}
