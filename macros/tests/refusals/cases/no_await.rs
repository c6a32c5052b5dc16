// Another method gives a call, not its output.
//~ E0369
//~ add
//~ line 18

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
impl<R: Runtime> Library<R> {
    pub async fn one(&self) -> u32 {
        self.two() + 1
    }

    pub async fn two(&self) -> u32 {
        2
    }
}

fn main() {}
