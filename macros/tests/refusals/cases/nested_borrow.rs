// Only the common borrows are made owned.
//~ take an owned type in place of `Vec < & str >`
//~ `&T`, `Option<&T>` and `&[&T]`
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
    pub async fn count(&self, words: Vec<&str>) -> usize {
        words.len()
    }
}

fn main() {}
