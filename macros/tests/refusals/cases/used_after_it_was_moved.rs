// The body owns an argument without a borrow.
//~ E0382
//~ borrow of moved value: `words`
//~ line 19

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
impl<R: Runtime> Library<R> {
    pub async fn one(&self, words: Vec<String>) -> usize {
        drop(words);
        words.len()
    }
}

fn main() {}
