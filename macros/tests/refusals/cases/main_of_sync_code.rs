// Sync code needs no entry.
//~ is for an `async fn`
//~ line 6

#[fourway::main]
fn main() {}
