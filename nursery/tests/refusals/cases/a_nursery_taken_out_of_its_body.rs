// What leaves the body is a handle, whose methods can refuse.
//~ no method named `clone` found

use fourway_core::Runtime;
use fourway_nursery::Nursery;

pub fn taken<R: Runtime>(n: Nursery<R, String>) -> Nursery<R, String> {
    n.clone()
}

fn main() {}
