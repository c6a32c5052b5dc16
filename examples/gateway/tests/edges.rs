//! The gateway at its edges, on every runtime: clients that are too slow, and listeners that end.

mod running;
mod shown;

use std::{
    net::{Shutdown, SocketAddr},
    sync::Arc,
    time::Duration,
};

use fourway_core::{AnyRuntime, Spawner, Timer, cancel::CancellationToken};
use fourway_net::{Net, is_final};
use fourway_testing::{AGES, Gate, on_every_runtime, run};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use gateway::{Gateway, Log, Metrics, Settings, tcp};

on_every_runtime! { erased
    a_head_that_does_not_end_gets_408
    who_reads_nothing_is_cut_off
    who_reads_nothing_of_tcp_is_cut_off
    an_upstream_that_answers_early_and_reads_no_more
    a_listener_that_ends
}

/// Settings for a gateway in front of `upstreams`, which it does not check.
fn settings(upstreams: &[SocketAddr]) -> Settings {
    Settings {
        upstreams: upstreams.iter().map(ToString::to_string).collect(),
        check_every: None,
        ..Settings::default()
    }
}

fn a_head_that_does_not_end_gets_408(rt: AnyRuntime) {
    run(&rt, async {
        let settings = Settings {
            head_timeout: Duration::from_millis(50),
            ..settings(&[])
        };
        let gateway = running::Running::new(&rt, settings).await;
        let text = loop {
            let mut stream = rt.connect_tcp(gateway.address).await.unwrap();
            let mut text = String::new();
            let sent = stream.write_all(b"GET / HTTP/1.1\r\nho").await;
            let read = stream.read_to_string(&mut text).await;
            if sent.and(read).is_ok_and(|read| read > 0) {
                break text;
            }
            // On a slow machine its first byte was too late: try again.
        };
        assert!(text.starts_with("HTTP/1.1 408 "), "{text:?}");
        gateway.until(&rt, "gateway_head_timeouts_total 1").await;
        let (_, log) = gateway.stop(&rt).await;
        assert!(log.contains(r#" "" 408 0 bytes "#), "{log}");
    });
}

fn who_reads_nothing_is_cut_off(rt: AnyRuntime) {
    run(&rt, async {
        // An upstream with an endless answer.
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let endless = rt.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.readable().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(&[b'x'; 16 * 1024]).await.is_ok() {}
        });
        let settings = Settings {
            send_timeout: Duration::from_millis(50),
            ..settings(&[upstream])
        };
        let gateway = running::Running::new(&rt, settings).await;
        let mut stream = rt.connect_tcp(gateway.address).await.unwrap();
        let ask = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        gateway.until(&rt, "gateway_send_timeouts_total 1").await;
        gateway.until(&rt, "gateway_requests_in_flight 0").await;
        // The connection to the upstream is closed as well.
        endless.await.unwrap();
        let (_, log) = gateway.stop(&rt).await;
        let line = log.lines().next().unwrap();
        assert!(line.contains(r#" "GET /" 200 "#), "{log}");
        assert!(line.ends_with(" cut off"), "{log}");
        drop(stream);
    });
}

fn who_reads_nothing_of_tcp_is_cut_off(rt: AnyRuntime) {
    run(&rt, async {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap().to_string();
        let endless = rt.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            while stream.write_all(&[b'x'; 16 * 1024]).await.is_ok() {}
        });
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (metrics, stop) = (Arc::<Metrics>::default(), CancellationToken::new());
        let (runtime, counts, stopped) = (rt.clone(), metrics.clone(), stop.clone());
        let serving = rt.spawn(async move {
            let limits = tcp::Limits {
                connections: 10,
                connect_timeout: AGES,
                send_timeout: Duration::from_millis(50),
                grace: AGES,
            };
            let errors = Log::none();
            let serving = tcp::serve(
                &runtime, listener, upstream, limits, counts, &errors, &stopped,
            );
            serving.await
        });
        let stream = rt.connect_tcp(address).await.unwrap();
        endless.await.unwrap();
        stop.cancel();
        assert_eq!(serving.await.unwrap().cut, 0);
        let metrics = metrics.to_string();
        assert!(
            metrics.contains("gateway_send_timeouts_total 1"),
            "{metrics}"
        );
        drop(stream);
    });
}

/// Nobody waits for its answer any longer, and the rest of the request has nowhere to go.
fn an_upstream_that_answers_early_and_reads_no_more(rt: AnyRuntime) {
    run(&rt, async {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let done = Gate::default();
        let end = done.clone();
        rt.spawn_detached(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.readable().await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
            end.pass().await;
        });
        let settings = Settings {
            // Enough for the upstream to answer, also on a busy machine.
            timeout: Duration::from_secs(2),
            ..settings(&[upstream])
        };
        let gateway = running::Running::new(&rt, settings).await;
        let mut stream = rt.connect_tcp(gateway.address).await.unwrap();
        let ask = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        let mut text = [0; 12];
        stream.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"HTTP/1.1 200");
        // The client is closed, too, as nobody reads the rest of its request.
        while stream.write_all(&[b'x'; 16 * 1024]).await.is_ok() {}
        gateway.until(&rt, "gateway_requests_in_flight 0").await;
        done.open();
        gateway.stop(&rt).await;
    });
}

/// The gateway ends with an error, and does not spin.
fn a_listener_that_ends(rt: AnyRuntime) {
    run(&rt, async {
        for is_http in [true, false] {
            let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
            let socket = socket2::SockRef::from(&listener).try_clone().unwrap();
            let shown = shown::Shown::default();
            let errors = Log::new(&rt, shown.clone());
            let runtime = rt.clone();
            let told = errors.clone();
            let serving = rt.spawn(async move {
                let stop = CancellationToken::new();
                if is_http {
                    let settings = Settings {
                        errors: told,
                        ..settings(&[])
                    };
                    let gateway = Gateway::new(&runtime, settings, Log::none()).unwrap();
                    let metrics = gateway.metrics();
                    (gateway.serve(listener, &stop).await, metrics)
                } else {
                    let limits = tcp::Limits {
                        connections: 10,
                        connect_timeout: Duration::from_secs(30),
                        send_timeout: AGES,
                        grace: Duration::from_secs(30),
                    };
                    let metrics = Arc::<Metrics>::default();
                    let upstream = String::new();
                    let serving = tcp::serve(
                        &runtime,
                        listener,
                        upstream,
                        limits,
                        metrics.clone(),
                        &told,
                        &stop,
                    );
                    (serving.await, metrics)
                }
            });
            rt.sleep(Duration::from_millis(5)).await;
            socket.shutdown(Shutdown::Both).unwrap();
            let (drain, metrics) = serving.await.unwrap();
            assert!(drain.error.as_ref().is_some_and(is_final), "{drain:?}");
            assert_eq!(drain.accept_errors, 1);
            let metrics = metrics.to_string();
            assert!(metrics.contains("accept_errors_total 1"), "{metrics}");
            assert!(errors.flush(&rt, AGES).await);
            let lines = shown.text();
            assert_eq!(lines.matches(" cannot accept: ").count(), 1, "{lines}");
        }
    });
}
