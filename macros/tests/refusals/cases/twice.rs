// Only one can count.
//~ `#[calls]` is here twice
//~ line 15

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
#[calls(boxed)]
impl<R: Runtime> Library<R> {
    #[blocking]
    pub fn one(&self) -> u32 {
        1
    }
}

fn main() {}
