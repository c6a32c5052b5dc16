//! The reactors of the runtimes' sockets.

mod common;

use std::io;

use common::pair;
use fourway_core::{AnyRuntime, BlockOn, Compose, layer::Propagate};
use fourway_net::Net;
use fourway_testing::{each, run, runtimes, smol, std_thread, tokio};
use fourway_tokio::Tokio;
use futures_util::{AsyncReadExt, AsyncWriteExt};

fn name<N: Net>(rt: &N) -> String {
    format!("{:?}", rt.reactor().unwrap())
}

#[test]
fn tokios_own_however_it_is_wrapped() {
    const TOKIO: &str = "Reactor(\"Tokio\")";
    let rt = tokio();
    assert_eq!(name(&rt), TOKIO);
    assert_eq!(name(&AnyRuntime::new(rt.clone())), TOKIO);
    let composed = Compose::new(rt.clone(), std_thread());
    assert_eq!(name(&composed), TOKIO);
    let layered = AnyRuntime::new(Propagate::new(AnyRuntime::new(composed)));
    assert_eq!(name(&layered), TOKIO);
    assert_eq!(name(&Tokio::from_handle(rt.handle().clone())), TOKIO);
}

#[test]
fn std_threads_own() {
    const STD_THREAD: &str = "Reactor(\"StdThread\")";
    assert_eq!(name(&std_thread()), STD_THREAD);
    let composed = Compose::new(std_thread(), tokio());
    assert_eq!(name(&AnyRuntime::new(Propagate::new(composed))), STD_THREAD);
    // Also for a caller within Tokio.
    let (rt, native) = (std_thread(), tokio());
    native.block_on(async { assert_eq!(name(&rt), STD_THREAD) });
}

#[test]
fn async_ios_for_the_others() {
    const ASYNC_IO: &str = "Reactor(\"AsyncIo\")";
    assert_eq!(name(&AnyRuntime::new(smol())), ASYNC_IO);
    let (_, last) = runtimes().pop().unwrap();
    assert_eq!(name(&last), ASYNC_IO, "ten lines bring no reactor");
}

#[test]
fn sockets_on_every_runtime_that_there_is() {
    each(|rt| {
        run(&rt, async {
            let (mut a, mut b) = pair(&rt).await;
            a.write_all(b"hello").await.unwrap();
            let mut buf = [0; 5];
            b.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"hello");
        });
    });
}

#[test]
fn a_tokio_without_io_says_so() {
    let native = ::tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let rt = Tokio::from_handle(native.handle().clone());
    let error = rt.block_on(rt.listen_tcp("127.0.0.1:0")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("enable_io"));
}
