// A lifetime without a name.
//~ its type cannot borrow
//~ line 14

use fourway_core::AnyRuntime;
use fourway_macros::calls;

pub struct View<'a> {
    rt: AnyRuntime,
    text: &'a str,
}

#[calls]
impl View<'_> {
    pub async fn length(&self) -> usize {
        self.text.len()
    }
}

fn main() {}
