// The call outlives what it would borrow from.
//~ its output cannot borrow from `self`
//~ return an owned type
//~ line 17

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
impl<R: Runtime> Library<R> {
    pub async fn text(&self) -> &str {
        &self.text
    }
}

fn main() {}
