// A closure is offloaded, because it may block.
//~ is not a future
//~ E0277

use fourway_core::Runtime;
use fourway_nursery::{NurseryError, nursery};

pub async fn library<R: Runtime>(rt: &R) -> Result<(), NurseryError<String>> {
    nursery(rt, async |n| {
        n.spawn(|| Ok(()));
        Ok(())
    })
    .await
}

fn main() {}
