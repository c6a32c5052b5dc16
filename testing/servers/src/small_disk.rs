//! A small disk: [`SmallDisk`].

use std::{
    env,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{NOTHING_LEFT_OUT, ServerError};

/// A file system in memory of a fixed size, if this process may mount one.
///
/// Dropping it removes it. It stays if the process is killed.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Whether this process may mount one.
    #[must_use]
    pub fn is_possible() -> bool {
        let folder = tempfile::tempdir();
        folder.is_ok_and(|folder| Self::mount(&folder.path().join("disk"), 1).is_some())
    }

    /// The same, for a test that is skipped without one: prints a line on standard error.
    ///
    /// # Panics
    ///
    /// If it may not, and [`NOTHING_LEFT_OUT`] is set.
    #[must_use]
    pub fn is_possible_or_not_run() -> bool {
        let possible = Self::is_possible();
        if !possible {
            let what = "a full disk, for nothing may be mounted here";
            let all = env::var_os(NOTHING_LEFT_OUT).is_some();
            assert!(
                !all,
                "NOT RUN: {what}; `cargo xtask test --without-harms` goes without"
            );
            eprintln!("NOT RUN: {what}");
        }
        possible
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Mounts a disk of this size, at a path that does not exist yet. `None` if this process may
    /// not.
    #[must_use]
    pub fn mount(at: &Path, megabytes: u32) -> Option<Self> {
        fs::create_dir(at).ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "none"]);
        let output = mount.arg(at).stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| Self(at.to_owned()))
    }

    /// Fills it.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn fill(&self) -> Result<(), ServerError> {
        let mut ballast = File::create(self.0.join("ballast"))?;
        let block = vec![0; 64 * 1024];
        // Until there is no room for another block, and then for no smaller one.
        while ballast.write_all(&block).is_ok() {}
        while ballast.write_all(&[0]).is_ok() {}
        Ok(())
    }

    /// Frees it again.
    ///
    /// # Errors
    ///
    /// If it was not full.
    pub fn free(&self) -> Result<(), ServerError> {
        Ok(fs::remove_file(self.0.join("ballast"))?)
    }
}

/// The disk of a server that was started on one.
pub(crate) fn small_disk_of(disk: &Option<SmallDisk>) -> Result<&SmallDisk, ServerError> {
    disk.as_ref()
        .ok_or_else(|| ServerError::failed("the server has no small disk"))
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The keeper has removed its contents. The folder is removed as well, unless it is in use.
        let _ = Command::new("umount").arg(&self.0).output();
        let _ = fs::remove_dir_all(self.0.parent().unwrap_or(&self.0));
    }
}
