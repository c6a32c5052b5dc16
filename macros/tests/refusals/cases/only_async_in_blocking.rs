// The blocking mirror awaits nothing.
//~ remove `async`
//~ line 17

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls(mirror)]
impl<R: Runtime> Library<R> {
    #[only(blocking)]
    pub async fn one(&self) -> u32 {
        1
    }

    pub async fn two(&self) {}
}

fn main() {}
