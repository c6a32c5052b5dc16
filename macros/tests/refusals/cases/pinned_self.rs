// A pinned `self` is borrowed too.
//~ cannot borrow `self`: take `&self`
//~ line 17

use std::pin::Pin;

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
}

#[calls]
impl<R: Runtime> Library<R> {
    pub async fn one(self: Pin<&Self>) -> u32 {
        1
    }
}

fn main() {}
