// There is no third.
//~ takes nothing, the runtime (`rt: fourway::AnyRuntime`), a token
//~ line 6

#[fourway::main]
async fn main(one: fourway::AnyRuntime, two: fourway::AnyRuntime, three: u32) {}
