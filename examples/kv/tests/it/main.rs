//! The library on every runtime, and its callers as they are.

mod every_runtime;
mod programs;
mod shared_static;
mod simulated;

use std::path::PathBuf;

/// The file of a store that is new.
fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("store.db")
}
