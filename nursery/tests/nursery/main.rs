//! Nurseries on every runtime.

mod context;
mod deadlines;
mod destructors;
mod ends;
mod failures;
mod handles;
mod names;
mod outputs;
mod policies;
mod shields;
mod sync_results;

use std::future::pending;

use fourway_nursery::NurseryError;

type Result<T, E = String> = std::result::Result<T, NurseryError<E>>;

async fn forever() -> std::result::Result<(), String> {
    pending().await
}
