//! Datagrams on every runtime.

use std::{net::Ipv4Addr, pin::pin};

use fourway_core::Runtime;
use fourway_net::{Net, UdpSocket};
use fourway_testing::{on_every_runtime, poll_once, run};

on_every_runtime! {
    to_an_address
    to_the_peer
    a_receive_that_is_dropped
    options
}

fn to_an_address<R: Runtime>(rt: R) {
    run(&rt, async {
        let a = rt.bind_udp("127.0.0.1:0").await.unwrap();
        let b = rt.bind_udp((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (from, to) = (a.local_addr().unwrap(), b.local_addr().unwrap());
        assert_eq!(a.send_to(b"hello", to).await.unwrap(), 5);
        let mut buf = [0; 16];
        assert_eq!(b.peek_from(&mut buf).await.unwrap(), (5, from));
        assert_eq!(b.recv_from(&mut buf).await.unwrap(), (5, from));
        assert_eq!(&buf[..5], b"hello");
    });
}

fn to_the_peer<R: Runtime>(rt: R) {
    run(&rt, async {
        let a = rt.bind_udp("127.0.0.1:0").await.unwrap();
        let b = rt.bind_udp("127.0.0.1:0").await.unwrap();
        a.connect(b.local_addr().unwrap()).unwrap();
        b.connect(a.local_addr().unwrap()).unwrap();
        assert_eq!(a.peer_addr().unwrap(), b.local_addr().unwrap());
        for i in 0..100 {
            a.send(&[i]).await.unwrap();
            let mut buf = [0; 2];
            assert_eq!(b.recv(&mut buf).await.unwrap(), 1);
            assert_eq!(buf[0], i);
        }
    });
}

fn a_receive_that_is_dropped<R: Runtime>(rt: R) {
    run(&rt, async {
        let a = rt.bind_udp("127.0.0.1:0").await.unwrap();
        let b = rt.bind_udp("127.0.0.1:0").await.unwrap();
        let to = b.local_addr().unwrap();
        for i in 0..20 {
            let mut buf = [0];
            let mut receive = Box::pin(b.recv_from(&mut buf));
            assert!(poll_once(receive.as_mut()).await.is_pending());
            a.send_to(&[i], to).await.unwrap();
            drop(receive);
            b.recv_from(&mut buf).await.unwrap();
            assert_eq!(buf, [i]);
        }
    });
}

fn options<R: Runtime>(rt: R) {
    run(&rt, async {
        let socket = rt.bind_udp("127.0.0.1:0").await.unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_ttl(3).unwrap();
        assert_eq!(socket.ttl().unwrap(), 3);
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        socket.set_send_buffer_size(64 * 1024).unwrap();
        let address = socket.local_addr().unwrap();
        let socket = socket.into_std().unwrap();
        let socket = UdpSocket::from_std(&rt, socket).unwrap();
        assert_eq!(socket.local_addr().unwrap(), address);
        assert!(poll_once(pin!(socket.recv(&mut [0]))).await.is_pending());
    });
}
