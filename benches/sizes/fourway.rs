//! fourway on its own threads.

use fourway_core::{BlockOn, Offload, Spawner};
use fourway_std_thread::StdThread;

fn main() -> std::io::Result<()> {
    let runtime = StdThread::builder().build()?;
    let sum = runtime.block_on(async {
        let task = runtime.spawn(async { 1_u64 });
        let closure = runtime.offload(|| 2_u64);
        task.await.unwrap_or_default() + closure.await.unwrap_or_default()
    });
    println!("{sum}");
    Ok(())
}
