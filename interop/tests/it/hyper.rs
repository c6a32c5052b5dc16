//! hyper serves and asks on every runtime, over a pipe in memory.

use std::{convert::Infallible, time::Duration};

use fourway_core::{Runtime, Task};
use fourway_interop::hyper::Hyper;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client,
    rt::Timer as _,
    server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;

on_every_runtime!(
    http2_with_offloads,
    http1_gives_up_a_silent_peer,
    keeps_alive,
    moves_its_timers
);

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);
const MUST: Duration = Duration::from_secs(60);

/// Answers with the length of the body, which a pool thread counts.
async fn count<R: Runtime>(
    rt: R,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let length = rt.offload(move || body.len()).await.unwrap();
    Ok(Response::new(Full::from(length.to_string())))
}

/// Serves HTTP/2 on one end of a pipe.
fn serve<R: Runtime>(rt: &R, io: tokio::io::DuplexStream) {
    let (inner, executor) = (rt.clone(), Hyper::new(rt.clone()));
    let connection = server::conn::http2::Builder::new(executor.clone())
        .timer(executor)
        .keep_alive_interval(LONG)
        .serve_connection(
            TokioIo::new(io),
            service_fn(move |request| count(inner.clone(), request)),
        );
    rt.spawn_detached(async move {
        let _ = connection.await;
    });
}

fn http2_with_offloads(rt: impl Runtime) {
    let (near, far) = tokio::io::duplex(4096);
    serve(&rt, far);
    rt.block_on(async {
        let (sender, connection) =
            client::conn::http2::handshake(Hyper::new(rt.clone()), TokioIo::new(near))
                .await
                .unwrap();
        let connection = rt.spawn(connection);
        let tasks: Vec<_> = (0..50)
            .map(|n| {
                let mut sender = sender.clone();
                rt.spawn(async move {
                    let body = Full::<Bytes>::from(vec![0_u8; n]);
                    let request = Request::post("http://pipe/").body(body).unwrap();
                    let response = sender.send_request(request).await.unwrap();
                    let text = response.into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(text, n.to_string());
                })
            })
            .collect();
        for task in tasks {
            rt.timeout(MUST, task).await.unwrap().unwrap();
        }
        drop(sender);
        rt.timeout(MUST, connection)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    });
}

fn http1_gives_up_a_silent_peer(rt: impl Runtime) {
    let (_near, far) = tokio::io::duplex(4096);
    let inner = rt.clone();
    let connection = server::conn::http1::Builder::new()
        .timer(Hyper::new(rt.clone()))
        .header_read_timeout(Duration::from_millis(5))
        .serve_connection(
            TokioIo::new(far),
            service_fn(move |request| count(inner.clone(), request)),
        );
    let connection = rt.spawn(connection);
    let result = rt.block_on(rt.timeout(MUST, connection));
    // Without a timer it would wait as long as the peer is there.
    assert!(result.unwrap().unwrap().unwrap_err().is_timeout());
}

#[test]
fn http1_reads_headers_by_the_runtimes_clock() {
    fourway_sim::Check::default()
        .seeds(20)
        .run(reads_headers_ahead_of_the_system);
}

/// In virtual time.
fn reads_headers_ahead_of_the_system(rt: impl Runtime) {
    let (near, far) = tokio::io::duplex(4096);
    let inner = rt.clone();
    rt.block_on(async {
        rt.sleep(Duration::from_secs(30)).await;
        let connection = server::conn::http1::Builder::new()
            .timer(Hyper::new(rt.clone()))
            .header_read_timeout(Duration::from_secs(5))
            .serve_connection(
                TokioIo::new(far),
                service_fn(move |request| count(inner.clone(), request)),
            );
        let connection = rt.spawn(connection);
        rt.sleep(Duration::from_secs(1)).await;
        let (mut sender, client) = client::conn::http1::handshake(TokioIo::new(near))
            .await
            .unwrap();
        let client = rt.spawn(client);
        let request = Request::post("/").body(Full::<Bytes>::from("body"));
        let response = sender.send_request(request.unwrap()).await.unwrap();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(text, "4");
        drop(sender);
        client.await.unwrap().unwrap();
        connection.await.unwrap().unwrap();
    });
}

fn keeps_alive(rt: impl Runtime) {
    // The pings get no answer.
    let (near, _far) = tokio::io::duplex(1 << 16);
    let executor = Hyper::new(rt.clone());
    rt.block_on(async {
        let (sender, connection) = client::conn::http2::Builder::new(executor.clone())
            .timer(executor)
            .keep_alive_interval(Duration::from_millis(2))
            .keep_alive_timeout(Duration::from_millis(5))
            .keep_alive_while_idle(true)
            .handshake::<_, Full<Bytes>>(TokioIo::new(near))
            .await
            .unwrap();
        let connection = rt.spawn(connection);
        // Without a timer it would go on. Both of hyper's tasks see the end. If the task awaited
        // here learns of it from the other one, it ends without the error.
        let ended = rt.timeout(MUST, connection).await.unwrap().unwrap();
        assert!(ended.map_or_else(|error| error.is_timeout(), |()| true));
        drop(sender);
    });
}

fn moves_its_timers(rt: impl Runtime) {
    let timer = Hyper::new(rt.clone());
    let mut sleep = timer.sleep(LONG);
    let place = &raw const *sleep;
    timer.reset(&mut sleep, rt.now() + Duration::from_millis(1));
    assert!(
        std::ptr::addr_eq(place, &raw const *sleep),
        "moved, not made anew"
    );
    let task = rt.spawn(sleep);
    rt.block_on(rt.timeout(MUST, task)).unwrap().unwrap();
    // A sleep of another timer is replaced.
    struct Never;
    impl Future for Never {
        type Output = ();
        fn poll(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<()> {
            std::task::Poll::Pending
        }
    }
    impl hyper::rt::Sleep for Never {}
    let mut sleep: std::pin::Pin<Box<dyn hyper::rt::Sleep>> = Box::pin(Never);
    timer.reset(&mut sleep, rt.now());
    rt.block_on(rt.timeout(MUST, sleep)).unwrap();
    rt.spawn(async {}).detach();
}
