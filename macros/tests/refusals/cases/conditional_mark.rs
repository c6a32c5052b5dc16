// The macro cannot evaluate the condition of a mark.
//~ a mark is there or not: write the method twice
//~ line 15

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
}

#[calls]
impl<R: Runtime> Library<R> {
    #[cfg_attr(unix, blocking)]
    pub fn one(&self) {}

    pub async fn two(&self) {}
}

fn main() {}
