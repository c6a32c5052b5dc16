//! A server and its clients on a simulated network, which nothing here knows of but the test: nodes
//! are parted, and the server's crashes.

use std::{collections::BTreeSet, io, time::Duration};

use axum::{Router, extract::Path, routing::get};
use fourway_core::{BlockOn, Runtime, Task, Timer, cancel::CancellationToken};
use fourway_hyper::{Server, client};
use fourway_net::Net;
use fourway_sim::{Check, Sim, net::Network};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::service::TowerToHyperService;

const SECOND: Duration = Duration::from_secs(1);

async fn serve<R: Runtime>(rt: R, stop: CancellationToken) -> io::Result<usize> {
    let app = Router::new().route(
        "/double/{n}",
        get(async |Path(n): Path<u64>| (n * 2).to_string()),
    );
    let listener = rt.listen_tcp("0.0.0.0:80").await?;
    let server = Server::new(&rt).stop(&stop).grace(60 * SECOND);
    Ok(server
        .serve(listener, TowerToHyperService::new(app))
        .await
        .cut)
}

/// Asks again, on another connection, until it is answered. Gives how often it asked.
async fn double<R: Runtime>(rt: &R, n: u64) -> usize {
    for tries in 1.. {
        let client = client::<_, Full<Bytes>>(rt);
        let uri = format!("http://server/double/{n}").parse().unwrap();
        let asks = async {
            let response = client.get(uri).await.ok()?;
            response.into_body().collect().await.ok()
        };
        if let Ok(Some(body)) = rt.timeout(2 * SECOND, asks).await {
            assert_eq!(body.to_bytes(), (n * 2).to_string());
            return tries;
        }
        rt.sleep(SECOND / 10).await;
    }
    unreachable!("it tries until it is answered")
}

/// Each client is answered, however often it had to ask, and the server ends in good order.
fn answers_in_the_end(rt: &Sim) -> BTreeSet<usize> {
    let network = Network::of(rt);
    let server = network.node("server");
    let stop = CancellationToken::new();
    let mut serves = server.spawn(serve(rt.clone(), stop.clone()));
    let clients: Vec<_> = (0..3)
        .map(|n| network.node(format!("client {n}")))
        .collect();
    let asks: Vec<_> = clients
        .iter()
        .map(|node| {
            let inner = rt.clone();
            node.spawn(async move {
                let mut tries = BTreeSet::new();
                for n in 0..5 {
                    tries.insert(double(&inner, n).await);
                }
                tries
            })
        })
        .collect();
    for round in 0..5 {
        rt.block_on(rt.sleep(SECOND / 100 * (1 + rt.seed() as u32 % 7)));
        let parted = &clients[(rt.seed() as usize + round) % 3];
        network.part(parted, &server);
        rt.block_on(rt.sleep(SECOND * (1 + rt.seed() as u32 % 4)));
        if round == 2 && rt.seed() % 2 == 0 {
            server.crash();
            serves = server.spawn(serve(rt.clone(), stop.clone()));
        }
        network.heal();
    }
    let tries = asks
        .into_iter()
        .flat_map(|asks| asks.wait().unwrap())
        .collect();
    stop.cancel();
    assert_eq!(serves.wait().unwrap().unwrap(), 0);
    tries
}

#[test]
fn every_request_is_answered_across_partitions_and_a_crash() {
    Check::default().seeds(50).run(|rt| {
        let tries = answers_in_the_end(&rt);
        assert!(!tries.is_empty());
    });
    // Some had to ask again, or nothing was tested.
    let tries = (0..5).flat_map(|seed| Sim::new(seed).run(|rt| answers_in_the_end(&rt)));
    assert!(tries.max() > Some(1));
}

#[test]
fn a_run_is_the_same_again() {
    Check::default().seeds(10).twice(true).run(|rt| {
        answers_in_the_end(&rt);
    });
}
