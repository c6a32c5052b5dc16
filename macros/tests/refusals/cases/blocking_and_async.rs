// A body is either blocking or async.
//~ an async body must not block
//~ remove `async`
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
    pub async fn read(&self) -> u32 {
        1
    }
}

fn main() {}
