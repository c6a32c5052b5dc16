// The future of an `AsyncFnOnce` cannot be said to be `Send`: wrappers have `run_owned`.
//~ cannot be sent between threads safely

use fourway_core::{Runtime, Spawner};
use fourway_nursery::{Nursery, nursery};

pub fn wrapper<R, B>(rt: R, body: B)
where
    R: Runtime,
    B: AsyncFnOnce(&Nursery<R, String>) -> Result<(), String> + Send + 'static,
{
    let inner = rt.clone();
    let _ = rt.spawn(async move { nursery(&inner, body).await.is_ok() });
}

fn main() {}
