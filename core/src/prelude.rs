//! The traits, for a glob import.
//!
//! ```
//! use fourway_core::prelude::*;
//! ```

pub use crate::{
    BlockOn, Call, Offload, Runtime, Shutdown, Spawner, Task, Timer, local::LocalSpawner,
    time::Sleep as _,
};
