use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::MissingArguments;

/// The problem of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// The problem, and its solution.
    pub reason: String,
}

impl Problem {
    pub(crate) fn new(path: &Path, line: usize, reason: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.reason)
    }
}

impl std::error::Error for Problem {}

/// Why a whole operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Discovery(PathBuf, String),
    Unknown(String),
    Arguments(String, MissingArguments),
}

impl Error {
    pub(crate) fn discovery(root: &Path, error: io::Error) -> Self {
        Self(Kind::Discovery(root.to_owned(), error.to_string()))
    }

    pub(crate) fn unknown(name: &str) -> Self {
        Self(Kind::Unknown(name.to_owned()))
    }

    pub(crate) fn arguments(name: &str, missing: MissingArguments) -> Self {
        Self(Kind::Arguments(name.to_owned(), missing))
    }

    /// Is there no such skill?
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self.0, Kind::Unknown(_))
    }

    /// Were there too few arguments?
    #[must_use]
    pub fn missing_arguments(&self) -> Option<&MissingArguments> {
        match &self.0 {
            Kind::Arguments(_, missing) => Some(missing),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Discovery(root, error) => {
                write!(
                    f,
                    "cannot look for skills under {}: {error}",
                    root.display()
                )
            }
            Kind::Unknown(name) => write!(f, "there is no skill called `{name}`"),
            Kind::Arguments(name, missing) => write!(f, "skill `{name}`: {missing}"),
        }
    }
}

impl std::error::Error for Error {}
