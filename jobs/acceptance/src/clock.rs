//! Clocks that are wrong: [`Wrong`].

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// How a process's clock is wrong. The one that is never set goes on as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wrong {
    Ahead,
    Behind,
}

impl Wrong {
    pub(crate) const BOTH: [Self; 2] = [Self::Ahead, Self::Behind];

    /// The process will see another time.
    pub(crate) fn applied_to(self, process: &mut Command) {
        let library = library().expect("the case is not for machines without it");
        process.env("LD_PRELOAD", library);
        process.env(
            "FAKETIME",
            match self {
                Self::Ahead => "+1h",
                Self::Behind => "-1h",
            },
        );
        process.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// libfaketime, where distributions have it. Linux has no clock of the wall for each process.
pub(crate) fn library() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let below = |folder: &str| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        // The folder of the architecture, or none.
        let mut folders = below("/usr/lib");
        folders.extend(["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from));
        let mut files = folders
            .into_iter()
            .map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
        files.find(|file| file.is_file())
    });
    found.as_deref().filter(|_| cfg!(target_os = "linux"))
}
