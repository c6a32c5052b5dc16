//! smol.

fn main() {
    let sum = smol::block_on(async {
        let task = smol::spawn(async { 1_u64 });
        let closure = smol::unblock(|| 2_u64);
        task.await + closure.await
    });
    println!("{sum}");
}
