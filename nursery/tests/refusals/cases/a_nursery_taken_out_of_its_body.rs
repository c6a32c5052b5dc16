// Only a handle leaves the body: its methods can refuse.
//~ no method named `clone` found

use fourway_core::Runtime;
use fourway_nursery::Nursery;

pub fn taken<R: Runtime>(n: Nursery<R, String>) -> Nursery<R, String> {
    n.clone()
}

fn main() {}
