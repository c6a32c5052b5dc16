// `?` converts errors into the written error type.
//~ ParseIntError
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
    pub async fn one(&self, text: &str) -> Result<u32, std::fmt::Error> {
        Ok(text.parse()?)
    }
}

fn main() {}
