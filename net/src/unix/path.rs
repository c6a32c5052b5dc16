//! The paths of Unix sockets: [`check_path`].

use std::{io, os::unix::ffi::OsStrExt, path::Path};

/// Refuses a path that the system would read as another address: it cuts a path at a NUL byte, takes a
/// leading one for Linux' abstract names, and binds an empty path to an abstract name of its choice.
pub(crate) fn check_path(path: &Path) -> io::Result<()> {
    let bytes = path.as_os_str().as_bytes();
    let problem = if bytes.is_empty() {
        "the path of a Unix socket is empty"
    } else if bytes.contains(&0) {
        "the path of a Unix socket has a NUL byte"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}
