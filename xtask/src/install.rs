//! Debian's packages.

use std::{
    io,
    process::{Command, Stdio},
};

/// Installs a package if possible: as root, on a system with `apt-get`. Prints an error; the user
/// of the package notices its absence.
pub(crate) fn install(package: &str) {
    if !is_root() {
        return;
    }
    eprintln!("installing {package}");
    // A mirror may fail now and then.
    let tried = (0..2).map(|_| {
        // Old lists name files that are gone.
        apt(&["update"])?;
        apt(&["install", "--yes", "--no-install-recommends", package])
    });
    let mut error = None;
    for result in tried {
        match result {
            Ok(()) => return,
            Err(why) => error = Some(why),
        }
    }
    if let Some(error) = error {
        eprintln!("{package} could not be installed: {error}");
    }
}

/// The same for a package whose files have no known place.
pub(crate) fn install_unless_there(package: &str) {
    let mut ask = Command::new("dpkg-query");
    ask.args(["--show", "--showformat=${db:Status-Status}", package]);
    let there = ask.output().is_ok_and(|said| said.stdout == b"installed");
    if !there {
        install(package);
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

fn apt(args: &[&str]) -> io::Result<()> {
    let mut apt = Command::new("apt-get");
    apt.arg("--quiet").args(args).stdin(Stdio::null());
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    let output = apt.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    Err(io::Error::other(format!(
        "apt-get {}: {last}",
        args.join(" ")
    )))
}
