// A call is used up; one whose closure can be cloned can be cloned itself.
//~ use of moved value: `call`

use fourway_core::{Runtime, call::Call};

pub fn twice(rt: &impl Runtime) -> u32 {
    let call = rt.call(async { 1 });
    call.wait() + call.wait()
}

fn main() {}
