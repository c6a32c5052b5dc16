// The attribute reads no conditions and statements in types.
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
    pub async fn count(&self, bytes: [u8; if cfg!(unix) { 2 } else { 1 }]) -> usize {
        bytes.len()
    }
}

fn main() {}
