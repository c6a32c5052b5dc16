// A lifetime in a path is a borrow as well.
//~ take an owned type in place of
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
    pub async fn count(&self, text: std::borrow::Cow<'_, str>) -> usize {
        text.len()
    }
}

fn main() {}
