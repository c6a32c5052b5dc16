// A call is not a constant.
//~ remove `const`
//~ line 17

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
impl<R: Runtime> Library<R> {
    #[blocking]
    pub const fn one(&self) -> u32 {
        1
    }
}

fn main() {}
