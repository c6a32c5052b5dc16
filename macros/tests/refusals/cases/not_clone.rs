// A call has a clone of `self`.
//~ E0277
//~ Clone
//~ line 21

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

pub struct Other<R> {
    rt: R,
}

#[calls]
impl<R: Runtime> Other<R> {
    pub async fn one(&self) -> u32 {
        1
    }
}

fn main() {}
