// The whole of several calls is not there before it is used.
//~ no method named `len` found for

use fourway_core::{Runtime, call::Call};

pub fn library(rt: &impl Runtime) -> usize {
    let calls = [1, 2].map(|n| rt.call(async move { n }));
    rt.call_all(calls).len()
}

fn main() {}
