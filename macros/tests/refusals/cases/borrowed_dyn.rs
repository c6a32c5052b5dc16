// A trait object cannot be cloned.
//~ take an `Arc<dyn Trait>`
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
    pub async fn show(&self, what: &dyn std::fmt::Display) -> String {
        what.to_string()
    }
}

fn main() {}
