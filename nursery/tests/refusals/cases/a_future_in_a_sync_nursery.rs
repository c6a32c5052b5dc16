// Threads run closures: a future would never be polled.
//~ expected a `FnOnce()` closure, found `{async block
//~ E0277

use fourway_core::Runtime;
use fourway_nursery::{NurseryError, sync_nursery};

pub fn library<R: Runtime>(rt: &R) -> Result<(), NurseryError<String>> {
    sync_nursery(rt, |n| {
        n.spawn(async { Ok(()) });
        Ok(())
    })
}

fn main() {}
