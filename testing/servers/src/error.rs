//! Why there is no server: [`ServerError`].

use std::{error::Error, fmt, io};

/// Why there is no server.
#[derive(Debug)]
pub struct ServerError(pub(crate) Why);

#[derive(Debug)]
pub(crate) enum Why {
    NotInstalled(&'static str),
    Io(io::Error),
    Failed(String),
}

impl ServerError {
    /// Its program was not found.
    #[must_use]
    pub fn is_not_installed(&self) -> bool {
        matches!(self.0, Why::NotInstalled(_))
    }

    pub(crate) fn not_installed(program: &'static str) -> Self {
        Self(Why::NotInstalled(program))
    }

    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self(Why::Failed(what.into()))
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::NotInstalled(program) => write!(f, "{program} is not installed"),
            Why::Io(error) => write!(f, "starting a server: {error}"),
            Why::Failed(what) => f.write_str(what),
        }
    }
}

impl Error for ServerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Why::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for ServerError {
    fn from(error: io::Error) -> Self {
        Self(Why::Io(error))
    }
}
