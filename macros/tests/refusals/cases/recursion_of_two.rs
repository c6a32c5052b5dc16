// Each call is part of the other.
//~ mark the method `#[boxed]`
//~ line 16

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
}

#[calls]
impl<R: Runtime> Library<R> {
    pub async fn even(&self, number: u32) -> bool {
        number == 0 || self.odd(number - 1).await
    }

    pub async fn odd(&self, number: u32) -> bool {
        number != 0 && self.even(number - 1).await
    }
}

fn main() {}
