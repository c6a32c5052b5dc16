// The body borrows its arguments, so a task that it spawns cannot use them.
//~ E0521
//~ borrowed data escapes
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
    pub async fn one(&self, word: &str) -> usize {
        let task = self.rt.spawn(async move { word.len() });
        task.await.unwrap()
    }
}

fn main() {}
