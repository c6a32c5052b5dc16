// The written type is the expected one.
//~ E0308
//~ expected `u32`, found `bool`
//~ line 18

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
impl<R: Runtime> Library<R> {
    pub async fn one(&self) -> u32 {
        true
    }
}

fn main() {}
