//! Where the servers' programs are.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::ServerError;

/// The folder of PostgreSQL's programs: that of `FOURWAY_POSTGRES_BIN`, or of the newest version
/// that Debian's packages have installed, or the first one on the path with all that is needed.
///
/// # Errors
///
/// If there is none.
pub fn postgres_programs() -> Result<PathBuf, ServerError> {
    let whole = |folder: &PathBuf| {
        let needed = ["initdb", "postgres", "pg_isready"];
        needed.iter().all(|program| folder.join(program).is_file())
    };
    if let Some(folder) = env::var_os("FOURWAY_POSTGRES_BIN") {
        let folder = Some(PathBuf::from(folder)).filter(whole);
        return folder.ok_or(ServerError::not_installed(
            "PostgreSQL, in the folder that FOURWAY_POSTGRES_BIN says,",
        ));
    }
    // Debian installs them outside of the path.
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<_> = versions
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|version| version.parse::<u32>().ok())
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    let debian = versions
        .into_iter()
        .map(|version| Path::new("/usr/lib/postgresql").join(format!("{version}/bin")));
    let found = debian.chain(path()).find(whole);
    found.ok_or(ServerError::not_installed("PostgreSQL"))
}

/// The program `nats-server`: that of `FOURWAY_NATS_SERVER`, or the first one on the path or in the
/// folders for system programs, which are not on every user's path.
///
/// # Errors
///
/// If there is none.
pub fn nats_server() -> Result<PathBuf, ServerError> {
    if let Some(program) = env::var_os("FOURWAY_NATS_SERVER") {
        let program = Some(PathBuf::from(program)).filter(|program| program.is_file());
        return program.ok_or(ServerError::not_installed(
            "nats-server, at the path that FOURWAY_NATS_SERVER says,",
        ));
    }
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    path()
        .chain(system)
        .map(|folder| folder.join("nats-server"))
        .find(|program| program.is_file())
        .ok_or(ServerError::not_installed("nats-server"))
}

fn path() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).collect::<Vec<_>>().into_iter()
}
