// The runtime is looked for in `rt`.
//~ no field `rt`
//~ line 19

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[derive(Clone)]
pub struct Other<R> {
    runtime: R,
}

#[calls]
impl<R: Runtime> Other<R> {
    pub async fn one(&self) -> u32 {
        1
    }
}

fn main() {}
