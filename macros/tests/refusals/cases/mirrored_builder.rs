// A mirror cannot turn a list of bases into mirrors.
//~ a mirror turns `Self`, `Result<Self, E>` and `Option<Self>` into itself
//~ line 16

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls(mirror)]
impl<R: Runtime> Library<R> {
    pub fn all(&self) -> Vec<Self> {
        Vec::new()
    }

    pub async fn two(&self) {}
}

fn main() {}
