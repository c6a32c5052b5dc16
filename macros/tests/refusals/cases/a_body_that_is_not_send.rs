// The caller may spawn it.
//~ cannot be sent between threads safely
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
    pub async fn one(&self) -> usize {
        let text = std::rc::Rc::new(1);
        fourway_core::yield_now().await;
        *text
    }
}

fn main() {}
