// The trait would not be usable as `dyn`.
//~ makes the trait unusable as `dyn`
//~ line 16

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
pub trait Words {
    async fn length(&self, word: impl Into<String>) -> usize;
}

fn main() {}
