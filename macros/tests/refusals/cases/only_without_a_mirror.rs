// There is no mirror for the method.
//~ write `#[calls(mirror)]`
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
    #[only(blocking)]
    pub fn one(&self) -> u32 {
        1
    }

    pub async fn two(&self) {}
}

fn main() {}
