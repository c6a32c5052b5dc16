//! The fourway adapter for smol.
mod block_on;
mod builder;
mod executor;
mod offload;
mod runtime;
mod shutdown;
mod spawn;
mod task;
mod timer;

pub use builder::Builder;
pub use fourway_core::adapt::pool::OffloadTask;
pub use runtime::Smol;
pub use task::Task;
pub use timer::Sleep;
