// `main` gets what its caller has: the runtime, and a token.
//~ `#[fourway::main]` has no `u32` to give
//~ `main` may take the runtime, `rt: fourway::AnyRuntime`
//~ line 7

#[fourway::main]
async fn main(one: fourway::AnyRuntime, two: u32) {}
