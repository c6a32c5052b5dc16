//! The folder that all work stays below: [`Root`].

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use super::Error;

/// A folder that callers name paths relative to, and cannot leave.
#[derive(Clone, Debug)]
pub struct Root {
    /// Without links in it.
    real: PathBuf,
}

impl Root {
    /// May block.
    ///
    /// # Errors
    ///
    /// If there is no such folder.
    pub fn new(folder: impl AsRef<Path>) -> io::Result<Self> {
        let real = folder.as_ref().canonicalize()?;
        if !real.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { real })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.real
    }

    /// Could the path be below the root? Checks only the path, so that a request can be refused
    /// without using the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Outside`] if it is absolute or has a `..` in it.
    pub fn check(path: &str) -> Result<(), Error> {
        let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if Path::new(path).components().all(inside) && !path.contains('\0') {
            Ok(())
        } else {
            Err(Error::Outside(path.into()))
        }
    }

    /// Where the path leads, links included; may block.
    ///
    /// # Errors
    ///
    /// If it does not exist, or leads outside.
    pub(super) fn resolve(&self, path: &str) -> Result<PathBuf, Error> {
        Self::check(path)?;
        let real = self.real.join(path).canonicalize();
        let real = real.map_err(|error| Error::read(Path::new(path), error))?;
        if real.starts_with(&self.real) {
            Ok(real)
        } else {
            Err(Error::Outside(path.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        for inside in ["a", "a/b", "./a", "", ".", "a b/ü"] {
            assert!(Root::check(inside).is_ok(), "{inside:?}");
        }
        for outside in ["/etc", "..", "a/../..", "../a", "a\0b"] {
            assert!(Root::check(outside).is_err(), "{outside:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_do_not_lead_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inside")).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("out")).unwrap();
        let root = Root::new(folder.path()).unwrap();
        assert!(root.resolve("inside").is_ok());
        assert!(matches!(root.resolve("out"), Err(Error::Outside(_))));
        assert!(matches!(root.resolve("missing"), Err(Error::Read(..))));
    }
}
