//! Tokio.

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build()?;
    let sum = runtime.block_on(async {
        let task = tokio::spawn(async { 1_u64 });
        let closure = tokio::task::spawn_blocking(|| 2_u64);
        task.await.unwrap_or_default() + closure.await.unwrap_or_default()
    });
    println!("{sum}");
    Ok(())
}
