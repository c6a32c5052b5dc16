// The task is cancelled at once.
//~ dropping a task handle cancels the task; call `.detach()` to let it run on

#![deny(unused_must_use)]

use fourway_core::Spawner;

pub fn forgets(rt: &impl Spawner) {
    rt.spawn(async {});
}

fn main() {}
