// Waiting for a place, and starting, are for async code; all children are closures.
//~ no method named `reserve` found for struct `SyncNursery
//~ no method named `start` found for struct `SyncNursery
//~ no method named `offload` found for struct `SyncNursery
//~ E0599

use fourway_core::Runtime;
use fourway_nursery::{NurseryError, sync_nursery};

pub fn library<R: Runtime>(rt: &R) -> Result<(), NurseryError<String>> {
    sync_nursery(rt, |n| {
        n.reserve();
        n.start(|started| started);
        n.offload(|| Ok(()));
        Ok(())
    })
}

fn main() {}
