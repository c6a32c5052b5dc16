// A value that is only known by a trait cannot be cloned.
//~ take `impl Trait + Send + 'static`
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
    pub async fn show(&self, what: &impl ToString) -> String {
        what.to_string()
    }
}

fn main() {}
