// The feature `ctrl-c` is not enabled.
//~ `#[fourway::main]` has no `CancellationToken` to give
//~ with the feature `ctrl-c` of `fourway`, a token that Ctrl-C cancels
//~ line 7

#[fourway::main]
async fn main(stop: fourway::CancellationToken) {}
