//! The simulation's world.

pub(crate) mod world {
    pub(crate) use fourway_core::{BlockOn, Offload, Spawner, Task, yield_now};
    pub(crate) use fourway_sim::{Sim as Rt, point};
}

#[path = "both.rs"]
pub(crate) mod both;
