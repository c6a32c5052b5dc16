//! Where the service keeps its jobs, as one says on the command line: [`Store`].

use std::{path::PathBuf, str::FromStr, sync::Arc};

use fourway_core::AnyRuntime;
use fourway_jobs_engine::{Engine, EngineError};
use fourway_jobs_sqlite::SqliteEngine;

/// `memory:`, or `sqlite:` and the path of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// In this process: jobs end with it.
    #[default]
    Memory,
    /// In a file: jobs go on when the service is started again.
    Sqlite(PathBuf),
}

impl Store {
    /// The engine; `None` for jobs that are kept in memory, which need none.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub async fn open(&self, rt: &AnyRuntime) -> Result<Option<Arc<dyn Engine>>, EngineError> {
        Ok(match self {
            Self::Memory => None,
            Self::Sqlite(path) => Some(Arc::new(SqliteEngine::open(rt, path).await?)),
        })
    }
}

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            _ => Err("give `memory:`, or `sqlite:` and the path of a file".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_named() {
        assert_eq!("memory:".parse(), Ok(Store::Memory));
        let file = Store::Sqlite("a/jobs.db".into());
        assert_eq!("sqlite:a/jobs.db".parse(), Ok(file));
        for wrong in ["", "memory", "sqlite", "sqlite:", "memory:x", "mysql:x"] {
            assert!(wrong.parse::<Store>().is_err(), "{wrong}");
        }
    }
}
