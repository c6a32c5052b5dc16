//! A server in a process that has no descriptors left. The test is alone in its file, as it affects
//! the whole process.
#![cfg(unix)]

use std::{convert::Infallible, fs::File, time::Duration};

use fourway_core::{AnyRuntime, Offload, Spawner, Timer, cancel::CancellationToken};
use fourway_hyper::Server;
use fourway_net::{Net, TcpStream, is_exhausted};
use fourway_testing::{AGES, Counter, any, any_current_thread, any_smol, any_tokio, run};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use http_body_util::Full;
use hyper::{Response, body::Bytes, service::service_fn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn it_says_so_and_goes_on() {
    let limit = Rlimit {
        current: Some(200),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    // All runtimes live until the last is done, as the end of a runtime would close descriptors.
    let runtimes = [any(), any_tokio(), any_current_thread(), any_smol()];
    runtimes.iter().for_each(goes_on);
}

fn goes_on(rt: &AnyRuntime) {
    run(rt, async {
        // All threads start first, as starting threads open files of the system for a moment.
        rt.offload(|| ()).await.unwrap();
        rt.sleep(Duration::from_millis(1)).await;
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(rt.connect_tcp(address).await.unwrap());
        let told = Counter::default();
        let tells = told.clone();
        let stop = CancellationToken::new();
        let server = Server::new(rt).stop(&stop).on_accept_error(move |error| {
            assert!(is_exhausted(error), "{error}");
            tells.add();
        });
        let hello = service_fn(async |_| {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
        });
        let serving = rt.spawn(server.serve(listener, hello));
        // The client's descriptor is the last free one.
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let client = client.unwrap();
        let mut files = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
        client.connect(&address.into()).unwrap();
        rt.timeout(AGES, async {
            while told.get() < 3 {
                rt.sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("it is told");
        drop(files);
        let mut stream = TcpStream::from_std(rt, client.into()).unwrap();
        let ask = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("hello"), "{text}");
        stop.cancel();
        let drain = serving.await.unwrap();
        assert_eq!(drain.accept_errors, told.get() as u64);
        assert!(drain.error.is_none(), "{drain:?}");
        // The pause starts at a millisecond and doubles. A spinning loop would report thousands of
        // errors.
        assert!(told.get() < 100, "told {} times", told.get());
    });
}
