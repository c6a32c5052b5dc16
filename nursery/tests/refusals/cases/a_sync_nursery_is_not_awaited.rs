// It blocks, and has ended when it returns: async code has `.offloaded(..).await`.
//~ is not a future
//~ E0277

use fourway_core::Runtime;
use fourway_nursery::{NurseryError, sync_nursery};

pub async fn library<R: Runtime>(rt: &R) -> Result<(), NurseryError<String>> {
    sync_nursery(rt, |_| Ok(())).await
}

fn main() {}
