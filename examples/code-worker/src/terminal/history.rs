//! The file that keeps the prompt's history: [`place`], [`make`].

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// The most entries.
pub(super) const ENTRIES: usize = 1000;
/// The longest entry, in bytes. Longer code is not kept: it was pasted or is made by a program, and a
/// thousand times that would fill the file.
pub(super) const LONGEST: usize = 16 * 1024;

/// Where the user's programs keep their state, by the XDG specification; `None` if the environment does not
/// say where the user's files are.
pub(super) fn place() -> Option<PathBuf> {
    let folder = |name| {
        let path = PathBuf::from(env::var_os(name)?);
        // As the specification has it: a path that is not absolute is ignored.
        path.is_absolute().then_some(path)
    };
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("code-worker").join("history"))
}

/// Makes the file and its folder, if they are not there. Only the owner may read them: code has secrets.
pub(super) fn make(path: &Path) -> io::Result<()> {
    let mut folder = fs::DirBuilder::new();
    folder.recursive(true);
    let mut file = fs::OpenOptions::new();
    // Not truncated, and not written.
    file.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        folder.mode(0o700);
        file.mode(0o600);
    }
    if let Some(parent) = path.parent() {
        folder.create(parent)?;
    }
    file.open(path)?;
    Ok(())
}
