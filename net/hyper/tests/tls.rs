//! TLS by rustls over our streams, on every runtime: a certificate of its own, a server and a
//! client.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use fourway_core::{AnyRuntime, Spawner, cancel::CancellationToken};
use fourway_hyper::{Io, Server};
use fourway_net::{Net, TcpStream};
use fourway_testing::{on_every_runtime, run};
use futures_rustls::{
    TlsAcceptor, TlsConnector, client,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{PrivatePkcs8KeyDer, ServerName},
    },
};
use futures_util::{AsyncReadExt, AsyncWriteExt, future::join};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, Version,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
    service::service_fn,
};

on_every_runtime! { erased
    each_direction_ends_by_itself
    http_1_and_2
    who_does_not_shake_hands_is_cut_off
    who_shakes_hands_and_says_nothing_is_cut_off
}

fn tls() -> (TlsAcceptor, TlsConnector) {
    let names = vec!["localhost".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone());
    let server = server.with_safe_default_protocol_versions().unwrap();
    let server = server
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into());
    let client = ClientConfig::builder_with_provider(provider);
    let client = client.with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server.unwrap()).into(), Arc::new(client).into())
}

async fn connect(
    rt: &AnyRuntime,
    to: SocketAddr,
    tls: &TlsConnector,
) -> io::Result<client::TlsStream<TcpStream>> {
    let stream = rt.connect_tcp(to).await?;
    tls.connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
}

fn each_direction_ends_by_itself(rt: AnyRuntime) {
    const SIZE: usize = 1 << 20;
    let (acceptor, connector) = tls();
    run(&rt, async {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = rt.spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            // The other direction goes on.
            stream.write_all(&all).await.unwrap();
            stream.close().await.unwrap();
        });
        let mut stream = connect(&rt, address, &connector).await.unwrap();
        // More than buffers hold, in both of its layers.
        stream.write_all(&[7; SIZE]).await.unwrap();
        stream.close().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert!(all.len() == SIZE && all.iter().all(|byte| *byte == 7));
        serving.await.unwrap();
    });
}

type Body = Full<Bytes>;

fn http_1_and_2(rt: AnyRuntime) {
    let (acceptor, connector) = tls();
    run(&rt, async {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = Server::new(&rt).stop(&stop);
        let make = |_peer| {
            service_fn(async |request: Request<Incoming>| {
                let version = request.version();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let answer = [format!("{version:?} ").as_bytes(), &body].concat();
                Ok::<_, Infallible>(Response::new(Body::from(answer)))
            })
        };
        let serving = server.serve_over(listener, move |stream| acceptor.accept(stream), make);
        let asking = async {
            let ask = |version| {
                let request = Request::post("https://localhost/").version(version);
                request.body(Body::from("hello")).unwrap()
            };
            let text = async |response: Response<Incoming>| {
                let body = response.into_body().collect().await.unwrap().to_bytes();
                String::from_utf8(body.to_vec()).unwrap()
            };

            let stream = connect(&rt, address, &connector).await.unwrap();
            let (mut client, connection) = http1::handshake(Io::new(stream)).await.unwrap();
            rt.spawn_detached(connection);
            let answer = client.send_request(ask(Version::HTTP_11)).await.unwrap();
            assert_eq!(text(answer).await, "HTTP/1.1 hello");
            drop(client);

            let stream = connect(&rt, address, &connector).await.unwrap();
            let executor = fourway_hyper::Hyper::new(rt.clone());
            let handshake = http2::handshake(executor, Io::new(stream));
            let (mut client, connection) = handshake.await.unwrap();
            rt.spawn_detached(connection);
            let answer = client.send_request(ask(Version::HTTP_2)).await.unwrap();
            assert_eq!(text(answer).await, "HTTP/2.0 hello");
            drop(client);
            stop.cancel();
        };
        let (drain, ()) = join(serving, asking).await;
        assert_eq!((drain.accepted, drain.cut), (2, 0));
    });
}

fn who_does_not_shake_hands_is_cut_off(rt: AnyRuntime) {
    let (acceptor, _) = tls();
    run(&rt, async {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = Server::new(&rt)
            .first_byte_timeout(Some(Duration::from_millis(20)))
            .stop(&stop);
        let make =
            |_peer| service_fn(async |_| Ok::<_, Infallible>(Response::new(Body::default())));
        let serving = server.serve_over(listener, move |stream| acceptor.accept(stream), make);
        let asking = async {
            // The beginning of a handshake, and no more of it.
            let mut stream = rt.connect_tcp(address).await.unwrap();
            stream.write_all(&[22, 3, 1]).await.unwrap();
            match stream.read(&mut [0]).await {
                Ok(read) => assert_eq!(read, 0),
                // The timer fired first, and the bytes are unread.
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
            }
            // Other bytes, which TLS rejects.
            let mut stream = rt.connect_tcp(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
            assert!(!all.starts_with(b"HTTP"), "{all:?}");
            stop.cancel();
        };
        join(serving, asking).await;
    });
}

fn who_shakes_hands_and_says_nothing_is_cut_off(rt: AnyRuntime) {
    let (acceptor, connector) = tls();
    run(&rt, async {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = Server::new(&rt)
            .head_timeout(Some(Duration::from_millis(100)))
            .stop(&stop);
        let make =
            |_peer| service_fn(async |_| Ok::<_, Infallible>(Response::new(Body::default())));
        let serving = server.serve_over(listener, move |stream| acceptor.accept(stream), make);
        let asking = async {
            let mut stream = connect(&rt, address, &connector).await.unwrap();
            // The server does not say that it closes.
            let end = stream.read(&mut [0]).await.unwrap_err();
            let ends = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
            assert!(ends.contains(&end.kind()), "{end:?}");
            // Half a head: the client gets 408.
            let mut stream = connect(&rt, address, &connector).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nho").await.unwrap();
            stream.flush().await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 408 "), "{text:?}");
            stop.cancel();
        };
        join(serving, asking).await;
    });
}
