// `main` gets at most one argument.
//~ `CancellationToken` that Ctrl-C cancels
//~ line 6

#[fourway::main]
async fn main(one: u32, two: u32) {}
