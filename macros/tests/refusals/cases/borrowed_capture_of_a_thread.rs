// A thread started by a blocking body cannot use them either.
//~ E0373
//~ may outlive the current function
//~ line 20

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
    text: String,
}

#[calls]
impl<R: Runtime> Library<R> {
    #[blocking]
    pub fn one(&self) -> usize {
        let text = self.text.clone();
        let thread = std::thread::spawn(|| text.len());
        thread.join().unwrap()
    }
}

fn main() {}
