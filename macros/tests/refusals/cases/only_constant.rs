// A method of one mirror is never `const`.
//~ remove `const`, or remove `#[only(..)]`
//~ line 18

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
}

#[calls(mirror)]
impl<R: Runtime> Library<R> {
    pub async fn one(&self) {}

    #[only(blocking)]
    pub const fn two(&self) -> u32 {
        2
    }
}

fn main() {}
