// The handle of a thread is joined.
//~ is not a future
//~ E0277

use fourway_nursery::SyncHandle;

pub async fn library(handle: SyncHandle<u32, String>) -> u32 {
    handle.await.unwrap_or(0)
}

fn main() {}
