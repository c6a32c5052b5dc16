// A call can be sent to another thread with its output.
//~ cannot be sent between threads safely
//~ Rc<u8>
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
    pub async fn one(&self) -> std::rc::Rc<u8> {
        std::rc::Rc::new(1)
    }
}

fn main() {}
