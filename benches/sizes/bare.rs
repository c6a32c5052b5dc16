//! A thread of the standard library in place of a runtime.

fn main() {
    let task = std::thread::spawn(|| 1_u64);
    let closure = std::thread::spawn(|| 2_u64);
    let sum = task.join().unwrap_or_default() + closure.join().unwrap_or_default();
    println!("{sum}");
}
