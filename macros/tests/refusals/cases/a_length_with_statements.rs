// Nor in braces, whose statements it would have to read.
//~ give it a name
//~ line 16

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
impl<R: Runtime> Library<R> {
    pub async fn count(&self, bytes: [u8; { let n = 3; n }]) -> usize {
        bytes.len()
    }
}

fn main() {}
