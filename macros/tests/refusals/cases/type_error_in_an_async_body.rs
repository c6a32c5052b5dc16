// An error in a body is reported at its line.
//~ E0308
//~ expected `usize`, found
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
    pub async fn one(&self, word: &str) -> usize {
        let length: usize = word;
        length
    }
}

fn main() {}
