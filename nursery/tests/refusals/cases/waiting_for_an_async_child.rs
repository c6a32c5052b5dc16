// A thread that runs async code must not wait: the handle is awaited.
//~ no method named `join` found for struct `ChildHandle
//~ E0599

use fourway_core::Runtime;
use fourway_nursery::{NurseryError, nursery};

pub async fn library<R: Runtime>(rt: &R) -> Result<u32, NurseryError<String>> {
    nursery(rt, async |n| Ok(n.spawn_handle(async { Ok(1) }).join().unwrap_or(0))).await
}

fn main() {}
