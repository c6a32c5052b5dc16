// The attribute makes the call.
//~ mark the method `#[boxed]`
//~ line 17

use fourway_core::{BoxCall, Runtime};
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
impl<R: Runtime> Library<R> {
    #[blocking]
    pub fn one(&self) -> BoxCall<u32> {
        1
    }
}

fn main() {}
