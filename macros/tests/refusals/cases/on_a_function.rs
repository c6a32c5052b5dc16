// A function has no runtime.
//~ stands on an `impl` block or on a trait
//~ line 14

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
pub async fn one() -> u32 {
    1
}

fn main() {}
