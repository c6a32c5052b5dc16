//! The traits, for a glob import.
//!
//! ```
//! use fourway_core::prelude::*;
//! ```

pub use crate::{
    BlockOn as _, Call, Offload as _, Runtime, Shutdown as _, Spawner as _, Task, Timer as _,
    local::LocalSpawner as _,
};
