// There are two mirrors.
//~ the mirrors are `blocking` and `asynchronous`
//~ line 16

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls(mirror)]
impl<R: Runtime> Library<R> {
    #[only(sync)]
    pub fn one(&self) -> u32 {
        1
    }

    pub async fn two(&self) {}
}

fn main() {}
