// Without `self` there is no runtime.
//~ a call finds its runtime by `self`
//~ line 16

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
impl<R: Runtime> Library<R> {
    pub async fn open() -> u32 {
        1
    }
}

fn main() {}
