// The future of a nursery can be forgotten, and its children run on: they borrow nothing. Those of
// `scope` and of a sync nursery may.
//~ must outlive `'static`

use fourway_core::Runtime;
use fourway_nursery::{NurseryError, nursery};

pub async fn library<R: Runtime>(rt: &R, names: &[String]) -> Result<(), NurseryError<String>> {
    nursery(rt, async |n| {
        for name in names {
            n.spawn(async move { Ok(name.len()) });
        }
        Ok(())
    })
    .await
}

fn main() {}
