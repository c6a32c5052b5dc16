use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Why something could not be done.
#[derive(Debug)]
pub struct Error(Kind);

#[derive(Debug)]
enum Kind {
    Unknown(String),
    Insufficient(String),
    /// What is wrong with the transfer.
    Pointless(&'static str),
    /// The file is set when the error leaves the library.
    Database(Option<PathBuf>, rusqlite::Error),
}

impl Error {
    pub(crate) fn unknown(account: &str) -> Self {
        Self(Kind::Unknown(account.to_owned()))
    }

    pub(crate) fn insufficient(account: &str) -> Self {
        Self(Kind::Insufficient(account.to_owned()))
    }

    pub(crate) fn pointless(why: &'static str) -> Self {
        Self(Kind::Pointless(why))
    }

    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self.0 {
            Kind::Database(None, error) => Self(Kind::Database(Some(path.to_owned()), error)),
            other => Self(other),
        }
    }

    /// Is there no such account?
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self.0, Kind::Unknown(_))
    }

    /// Has the paying account too little?
    #[must_use]
    pub fn is_insufficient(&self) -> bool {
        matches!(self.0, Kind::Insufficient(_))
    }

    /// Would the transfer move nothing: an amount of 0, or from an account to itself?
    #[must_use]
    pub fn is_pointless(&self) -> bool {
        matches!(self.0, Kind::Pointless(_))
    }

    /// Did other writers keep the file for too long? Then it can be tried again.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(&self.0, Kind::Database(_, error) if is_busy(error))
    }
}

pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self(Kind::Database(None, error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Unknown(account) => write!(f, "there is no account `{account}`: open it first"),
            Kind::Insufficient(account) => write!(f, "`{account}` has too little"),
            Kind::Pointless(why) => write!(f, "the transfer would move nothing: {why}"),
            Kind::Database(Some(path), error) => write!(f, "{}: {error}", path.display()),
            Kind::Database(None, error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Kind::Database(_, error) => error.source(),
            Kind::Unknown(_) | Kind::Insufficient(_) | Kind::Pointless(_) => None,
        }
    }
}
