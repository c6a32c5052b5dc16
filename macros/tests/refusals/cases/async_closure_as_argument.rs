// Rust has no bound that makes its future `Send`.
//~ take `F: Fn(A) -> Fut + Send + 'static`
//~ line 14

use fourway_core::Runtime;
use fourway_macros::calls;

#[derive(Clone)]
pub struct Library<R> {
    rt: R,
}
#[calls]
impl<R: Runtime> Library<R> {
    pub async fn with(&self, f: impl AsyncFn(u32) -> u32 + Send + Sync + 'static) -> u32 {
        f(1).await
    }
}

fn main() {}
