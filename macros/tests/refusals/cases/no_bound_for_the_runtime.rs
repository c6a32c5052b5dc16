// The block does not say that its parameter is a runtime.
//~ `R` is not a runtime
//~ line 14

use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
}

#[calls]
impl<R: Clone> Library<R> {
    pub async fn one(&self) -> u32 {
        1
    }
}

fn main() {}
