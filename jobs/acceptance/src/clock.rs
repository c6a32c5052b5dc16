//! Clocks that are wrong: [`Wrong`].

use std::{
    env::consts,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// How a process's clock is wrong. The monotonic clock is left as it is.
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

/// The prefix of the names of its folders.
const ARCHITECTURE: &str = if cfg!(target_arch = "x86") {
    "i386"
} else {
    consts::ARCH
};

/// Removes what libfaketime shares among processes, and leaves behind when its process is killed.
/// Not every version can be told to share nothing (`FAKETIME_DISABLE_SHM`).
pub(crate) fn clear_after(process: u32) {
    for name in ["faketime_shm_", "sem.faketime_sem_"] {
        // The process may have ended normally.
        let _ = fs::remove_file(format!("/dev/shm/{name}{process}"));
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
        // Debian's folder of this architecture, such as `x86_64-linux-gnu`: there may be others.
        let mine = |folder: &PathBuf| {
            let name = folder.file_name().and_then(|name| name.to_str());
            let name = name.and_then(|name| name.strip_prefix(ARCHITECTURE));
            name.is_some_and(|rest| rest.contains("-linux-"))
        };
        let mut folders: Vec<_> = below("/usr/lib").into_iter().filter(mine).collect();
        // Elsewhere `lib` may be the one for 32 bits.
        if cfg!(target_pointer_width = "64") {
            folders.push("/usr/lib64".into());
        }
        folders.extend(["/usr/lib", "/usr/local/lib"].map(PathBuf::from));
        let mut files = folders
            .into_iter()
            .map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
        files.find(|file| file.is_file())
    });
    found.as_deref().filter(|_| cfg!(target_os = "linux"))
}
