// There is no call to box.
//~ `#[boxed]` is for calls
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
    #[boxed]
    pub fn one(&self) -> u32 {
        1
    }

    pub async fn two(&self) {}
}

fn main() {}
