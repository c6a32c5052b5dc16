// The same in the constant argument of a type.
//~ give it a name
//~ line 18

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

pub struct Bytes<const N: usize>(pub [u8; N]);

#[calls]
impl<R: Runtime> Library<R> {
    pub async fn count(&self, bytes: Bytes<{ let n = 3; n }>) -> usize {
        bytes.0.len()
    }
}

fn main() {}
