//! A program that opens no socket pays for none: its runtime has a reactor, and opens nothing for it.
//! Alone in its process, whose descriptors it counts.

#![cfg(target_os = "linux")]

use std::{fs, time::Duration};

use fourway_core::prelude::*;
use fourway_net::Net;
use fourway_std_thread::StdThread;
use fourway_testing::eventually;

#[test]
fn no_descriptor_is_open_until_the_first_socket_is() {
    let count = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = count();
    let rt = StdThread::builder().worker_threads(2).build().unwrap();
    rt.block_on(async {
        rt.spawn({
            let rt = rt.clone();
            async move { rt.sleep(Duration::from_millis(1)).await }
        })
        .await
        .unwrap();
        rt.offload(|| ()).await.unwrap();
    });
    // A thread that has just begun may have a file of the system open for a moment.
    eventually("no descriptor is open", || count() == before);

    // The count would have seen it.
    let socket = rt.block_on(async { rt.bind_udp("127.0.0.1:0").await.unwrap() });
    assert!(count() > before + 1, "the socket, and what waits for it");
    drop(socket);
    rt.shutdown(Duration::from_secs(10)).unwrap();
    drop(rt);
    eventually("all are closed", || count() == before);
}
