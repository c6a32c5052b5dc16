//! QUIC on every runtime: quinn's server and client, over our sockets and timers.

use std::{net::UdpSocket, sync::Arc, time::Duration};

use fourway_core::{BlockOn, Runtime, Timer};
use fourway_interop::quinn::Quinn;
use fourway_sim::Sim;
use futures_util::future::join_all;
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, ServerConfig,
    rustls::{RootCertStore, pki_types::PrivatePkcs8KeyDer},
};

on_every_runtime!(streams_both_ways, after_the_shutdown);

fn endpoints<R: Runtime>(rt: &R) -> (Endpoint, Endpoint) {
    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let server = ServerConfig::with_single_cert(vec![certificate.clone()], key.into());
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();
    let make = |server| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let runtime = Arc::new(Quinn::new(rt.clone()));
        Endpoint::new(EndpointConfig::default(), server, socket, runtime).unwrap()
    };
    let mut endpoint = make(None);
    endpoint.set_default_client_config(client);
    (make(Some(server.unwrap())), endpoint)
}

fn streams_both_ways<R: Runtime>(rt: R) {
    const SIZE: usize = 300_000;
    let deadline = Duration::from_secs(60);
    let inner = rt.clone();
    let test = async move {
        let rt = inner;
        // Its drivers are tasks of the runtime, on whichever thread it is made.
        let (server, client) = endpoints(&rt);
        let address = server.local_addr().unwrap();
        let echo = server.clone();
        let serving = rt.spawn(async move {
            let connection = echo.accept().await.unwrap().await.unwrap();
            // Until the peer closes it.
            while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                let all = recv.read_to_end(SIZE).await.unwrap();
                send.write_all(&all).await.unwrap();
                send.finish().unwrap();
            }
        });
        let connection = client.connect(address, "localhost").unwrap().await.unwrap();
        let asking = (0..4_u8).map(async |i| {
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            send.write_all(&vec![i; SIZE]).await.unwrap();
            send.finish().unwrap();
            let all = recv.read_to_end(SIZE).await.unwrap();
            assert!(all.len() == SIZE && all.iter().all(|byte| *byte == i));
        });
        join_all(asking).await;
        connection.close(0_u8.into(), b"done");
        serving.await.unwrap();
        client.wait_idle().await;
        server.close(0_u8.into(), b"done");
    };
    rt.block_on(rt.timeout(deadline, test)).expect("it hangs");
}

fn after_the_shutdown<R: Runtime>(rt: R) {
    let (server, client) = endpoints(&rt);
    if rt.shutdown(Duration::from_secs(60)).is_err() {
        return;
    }
    // It can get neither a socket nor a task.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let made = quinn::Runtime::wrap_udp_socket(&Quinn::new(rt), socket);
    assert!(fourway_net::is_shutdown(&made.unwrap_err()));
    drop((server, client));
}

/// quinn computes the deadlines of its timers from it.
#[test]
fn the_clock_is_the_runtimes() {
    Sim::new(1).run(|rt| {
        let quinn = Quinn::new(rt.clone());
        rt.block_on(rt.sleep(Duration::from_secs(3600)));
        assert_eq!(quinn::Runtime::now(&quinn), rt.now());
    });
}
