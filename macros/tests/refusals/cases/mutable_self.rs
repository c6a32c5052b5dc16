// A call would keep the borrow.
//~ take `&self`, and put what changes behind a `Mutex`
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
    pub async fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }
}

fn main() {}
