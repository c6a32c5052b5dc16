use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use fourway_core::{JoinError, cancel::Cancelled};

/// Why work has failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The path leaves the root folder, or is not relative to it.
    Outside(PathBuf),
    /// A number is out of range.
    Range {
        /// The given number.
        given: u64,
        /// The largest allowed number.
        limit: u64,
    },
    /// A file or folder could not be read.
    Read(PathBuf, io::Error),
    /// The folder has no skills to be indexed.
    Skills(skillkit::Error),
    /// A file has grown beyond what one job may pack, in bytes.
    TooLarge(u64),
    /// It was cancelled.
    Cancelled(Cancelled),
    /// A part of it panicked, or the runtime went away.
    Part(JoinError),
}

impl Error {
    pub(crate) fn read(path: &Path, error: io::Error) -> Self {
        Self::Read(path.to_owned(), error)
    }
}

impl From<Cancelled> for Error {
    fn from(cancelled: Cancelled) -> Self {
        Self::Cancelled(cancelled)
    }
}

impl From<JoinError> for Error {
    fn from(error: JoinError) -> Self {
        Self::Part(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside(path) => write!(
                f,
                "{}: give a path relative to the service's root folder that stays inside of it",
                path.display()
            ),
            Self::Range { given, limit } => {
                write!(
                    f,
                    "{given} is out of range: give a number from 2 to {limit}"
                )
            }
            Self::Read(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Skills(error) => error.fmt(f),
            Self::TooLarge(limit) => write!(
                f,
                "the folder has more than {limit} bytes: pack its subfolders one by one"
            ),
            Self::Cancelled(cancelled) => cancelled.fmt(f),
            Self::Part(error) => write!(f, "a part of the work: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(_, error) => Some(error),
            Self::Skills(error) => Some(error),
            Self::Cancelled(error) => Some(error),
            Self::Part(error) => Some(error),
            Self::Outside(_) | Self::Range { .. } | Self::TooLarge(_) => None,
        }
    }
}
