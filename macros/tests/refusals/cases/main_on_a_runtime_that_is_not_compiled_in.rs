// The facade's features select the runtimes.
//~ the runtime `smol` is not compiled in
//~ features = ["smol"]
//~ line 6

#[fourway::main(runtime = "smol")]
async fn main() {}
