// An unsafe function is unsafe in the mirror too.
//~ call to unsafe function
//~ line 26

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
}

#[calls(mirror)]
impl<R: Runtime> Library<R> {
    pub async fn one(&self) {}

    /// # Safety
    ///
    /// Whatever.
    pub unsafe fn two(&self) {}
}

type Mirror = blocking::Library;

fn main() {
    let two = |mirror: Mirror| mirror.two();
    let _ = two;
}
