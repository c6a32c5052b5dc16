use std::{
    fmt,
    path::{Path, PathBuf},
};

use fourway_core::JoinError;

/// Why something could not be done.
#[derive(Debug)]
pub struct Error(Kind);

#[derive(Debug)]
enum Kind {
    Database(PathBuf, rusqlite::Error),
    Lost(JoinError),
}

impl Error {
    pub(crate) fn database(path: &Path, error: rusqlite::Error) -> Self {
        Self(Kind::Database(path.to_owned(), error))
    }

    pub(crate) fn lost(error: JoinError) -> Self {
        Self(Kind::Lost(error))
    }

    /// Did other writers keep the file for too long? Then it can be tried again.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let busy = Some(rusqlite::ErrorCode::DatabaseBusy);
        matches!(&self.0, Kind::Database(_, error) if error.sqlite_error_code() == busy)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Database(path, _) => write!(f, "the store {} failed", path.display()),
            Kind::Lost(_) => f.write_str("a lookup did not come to its end"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Kind::Database(_, error) => Some(error),
            Kind::Lost(error) => Some(error),
        }
    }
}
