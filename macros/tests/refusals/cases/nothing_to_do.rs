// No method is marked.
//~ there is nothing to make calls of
//~ mark those whose bodies may block
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
    pub fn one(&self) -> u32 {
        1
    }
}

fn main() {}
