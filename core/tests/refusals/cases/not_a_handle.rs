// A function over handles, given something else.
//~ is not the handle of a task that gives a `u32`
//~ handles are what `spawn` and `offload` return

use fourway_core::Task;

fn join(_: impl Task<u32>) {}

fn main() {
    join(async { 1 });
}
