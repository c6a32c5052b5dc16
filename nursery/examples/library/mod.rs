//! A library that names no runtime: it lists a folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use fourway_core::{Runtime, call::Call};

/// Looks at folders.
#[derive(Clone, Debug)]
pub(crate) struct Folders<R> {
    rt: R,
}

/// The content of one folder.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl<R: Runtime> Folders<R> {
    pub(crate) fn new(rt: R) -> Self {
        Self { rt }
    }

    /// May block: reads one folder. An unreadable folder or entry counts as empty.
    pub(crate) fn list(&self, folder: &Path) -> impl Call<Output = io::Result<Listing>> + use<R> {
        let folder = folder.to_owned();
        self.rt.call_blocking(move || {
            let mut listing = Listing::default();
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let Ok(kind) = entry.file_type() else {
                    continue;
                };
                if kind.is_dir() {
                    listing.folders.push(entry.path());
                } else if kind.is_file() {
                    listing.files += 1;
                    listing.bytes += entry.metadata().map_or(0, |data| data.len());
                }
            }
            Ok(listing)
        })
    }
}
