// Nothing has happened yet.
//~ that must be used
//~ futures do nothing unless you `.await` or poll them

#![deny(unused_must_use)]

use fourway_core::Runtime;
use fourway_nursery::nursery;

pub async fn library<R: Runtime>(rt: &R) {
    nursery::<R, (), String>(rt, async |n| {
        n.spawn(async { Ok(()) });
        Ok(())
    });
}

fn main() {}
