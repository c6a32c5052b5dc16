// The type of an output must have a name.
//~ box it (`Box<dyn Trait + Send>`)
//~ `Items<T>`
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
    #[blocking]
    pub fn words(&self) -> impl Iterator<Item = String> {
        std::iter::empty()
    }
}

fn main() {}
