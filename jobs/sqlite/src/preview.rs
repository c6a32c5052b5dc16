//! Reading while the disk takes no writes: [`Preview`].

use std::path::PathBuf;

use fourway_jobs_engine::{EngineError, Group};

use crate::db::Db;

/// A connection that makes the due transitions, looks at the result, and undoes them.
///
/// The transitions stay in the connection's memory, so that a full disk does not prevent them. It is
/// opened when it is first needed.
pub(crate) struct Preview {
    path: PathBuf,
    db: Option<Db>,
}

impl Preview {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, db: None }
    }

    #[cfg(test)]
    pub(crate) fn is_open(&self) -> bool {
        self.db.is_some()
    }

    /// What `look` finds once all transitions are made that are due now; blocks.
    pub(crate) fn look<T>(
        &mut self,
        now: u64,
        look: impl FnOnce(&Db) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let db = match &mut self.db {
            Some(db) => db,
            none => none.insert(Db::open_to_preview(&self.path)?),
        };
        db.begin()?;
        // Dropped also if `look` panics.
        let undo = Undo(db);
        while undo.0.is_stale(now)? {
            // As in other reads, an unreadable job does not concern readers of other jobs.
            let _ = undo.0.pass(now)?;
        }
        look(undo.0)
    }
}

struct Undo<'a>(&'a mut Db);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.0.undo();
    }
}

/// Each request begins and undoes a transaction of its own.
impl Group for Preview {
    fn begin(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn enter(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn leave(&mut self, _keep: bool) -> Result<(), EngineError> {
        Ok(())
    }

    fn commit(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn undo(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_made_where_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let error = Preview::new(path.clone()).look(1, Db::counts).unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        assert!(!path.exists());
    }
}
