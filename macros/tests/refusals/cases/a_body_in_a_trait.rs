// A `dyn Trait` cannot be cloned.
//~ a body clones `self`
//~ end the method with `;`
//~ line 17

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
pub trait Words {
    async fn length(&self, word: &str) -> usize {
        word.len()
    }
}

fn main() {}
