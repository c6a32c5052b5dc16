// An error in a body is reported at its line.
//~ E0308
//~ line 19

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
    pub fn one(&self) -> usize {
        let text = self.text.clone();
        text + 1
    }
}

fn main() {}
