// A call cannot keep it.
//~ its type cannot borrow
//~ keep an owned value or an `Arc`
//~ line 21

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

pub struct View<'a, R> {
    rt: R,
    text: &'a str,
}

#[calls]
impl<'a, R: Runtime> View<'a, R> {
    pub async fn length(&self) -> usize {
        self.text.len()
    }
}

fn main() {}
