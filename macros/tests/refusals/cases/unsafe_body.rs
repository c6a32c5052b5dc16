// The caller of the call could not keep the contract of the body.
//~ make it a safe `fn` that checks
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
    pub unsafe fn one(&self) -> u32 {
        1
    }
}

fn main() {}
