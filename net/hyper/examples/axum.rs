//! An axum application on the runtime that the environment names.
//!
//! ```console
//! $ FOURWAY_RUNTIME=std-thread cargo run -p fourway-hyper --example axum
//! listening on http://127.0.0.1:3000
//! $ curl http://127.0.0.1:3000/sum/40/2
//! 42
//! ```
//!
//! An address may be named: `--example axum -- 127.0.0.1:0`. Ctrl-C lets requests that are under way
//! end.

use std::{env, io};

use axum::{Router, extract::Path, routing::get};
use fourway::{AnyRuntime, cancel::CancellationToken, entry::Main, net::Net, prelude::*};
use fourway_hyper::Server;
use hyper_util::service::TowerToHyperService;

fn main() -> io::Result<()> {
    let address = env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:3000");
    Main::new().run_given(async |(rt, stop): (AnyRuntime, CancellationToken)| {
        serve(&rt, &stop, address).await
    })
}

/// It names no runtime, and a library could have it.
async fn serve<R: Runtime>(rt: &R, stop: &CancellationToken, address: &str) -> io::Result<()> {
    let pool = rt.clone();
    // What takes long goes to the pool, as on every runtime.
    let sum = async move |Path((a, b)): Path<(u64, u64)>| {
        let sum = pool.offload(move || a.saturating_add(b)).await;
        sum.map(|sum| format!("{sum}\n")).map_err(|error| {
            (
                axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                error.to_string(),
            )
        })
    };
    let app = Router::new()
        .route("/", get(async || "hello\n"))
        .route("/sum/{a}/{b}", get(sum));

    let listener = rt.listen_tcp(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let server = Server::new(rt).stop(stop);
    let drain = server.serve(listener, TowerToHyperService::new(app)).await;
    println!("{drain:?}");
    Ok(())
}
