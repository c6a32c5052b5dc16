// There are three runtimes.
//~ the runtimes are "tokio", "smol" and "std-thread"
//~ line 5

#[fourway::main(runtime = "tokyo")]
async fn main() {}
