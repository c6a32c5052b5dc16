//! NE-2: ends are told apart.

use std::{io, time::Duration};

use futures_util::future::join;

use crate::{
    addresses::{Nobody, Silent, unreachable},
    case::{Case, table},
    scene::{Scene, datagram_pair, read_to_end, write_all},
};

pub(super) fn cases() -> Vec<Case> {
    table! {
        "NE-2.1", "an end in one direction", an_end_in_one_direction;
        "NE-2.2", "a reset is no end", a_reset_is_no_end;
        "NE-2.3", "refused and late", refused_and_late;
        "NE-2.4", "each address is tried", each_address_is_tried;
        "NE-2.5", "unreachable is not refused", unreachable_is_not_refused;
        "NE-2.6", "a datagram ends with its bytes", a_datagram_ends_with_its_bytes, datagrams true;
    }
}

fn an_end_in_one_direction(scene: &Scene<'_>) {
    const SIZE: usize = 4 << 20;
    scene.run(async {
        let (mut a, mut b) = scene.pair().await;
        let sending = async {
            write_all(&mut *a, &vec![1; SIZE]).await.unwrap();
            a.end().await.unwrap();
        };
        let ((), received) = join(sending, read_to_end(&mut *b)).await;
        assert_eq!(received.unwrap().len(), SIZE);
        write_all(&mut *b, b"answer").await.unwrap();
        // Dropping it is an end as well.
        drop(b);
        assert_eq!(read_to_end(&mut *a).await.unwrap(), b"answer");
    });
}

fn a_reset_is_no_end(scene: &Scene<'_>) {
    scene.run(async {
        let (a, mut b) = scene.pair().await;
        let mut buf = [0];
        let reading = b.read(&mut buf);
        let resetting = async { a.reset() };
        let (read, ()) = join(reading, resetting).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

fn refused_and_late(scene: &Scene<'_>) {
    scene.run(async {
        let nobody = Nobody::new();
        let refused = scene.connect(nobody.address()).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let silent = Silent::new();
        let soon = Duration::from_millis(20);
        let late = scene.net.connect(vec![silent.address()], soon).await;
        assert_eq!(late.err().unwrap().kind(), io::ErrorKind::TimedOut);
    });
}

fn each_address_is_tried(scene: &Scene<'_>) {
    scene.run(async {
        let listener = scene.net.listen().await.unwrap();
        let nobody = Nobody::new();
        let to = vec![nobody.address(), listener.address()];
        scene.net.connect(to, scene.patience).await.unwrap();
        listener.accept().await.unwrap();
        // Also beside an address that does not answer for longer than the case takes.
        let silent = Silent::new();
        let to = vec![silent.address(), listener.address()];
        scene.net.connect(to, scene.patience * 2).await.unwrap();
        listener.accept().await.unwrap();
    });
}

fn unreachable_is_not_refused(scene: &Scene<'_>) {
    let Some((address, kind)) = unreachable() else {
        if cfg!(target_os = "linux") {
            panic!("the loopback has no broadcast address");
        }
        // NE-2.3 still asserts that refused and late differ.
        eprintln!("this machine has a route to every address: unreachable is not asserted");
        return;
    };
    scene.run(async {
        let error = scene.connect(address).await.err().unwrap();
        // The kind that the system reports, neither refused nor timed out.
        assert_eq!(error.kind(), kind);
        let nobody = Nobody::new();
        let refused = scene.connect(nobody.address()).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // The next address is tried after this error.
        let listener = scene.net.listen().await.unwrap();
        let to = vec![address, listener.address()];
        scene.net.connect(to, scene.patience).await.unwrap();
        listener.accept().await.unwrap();
    });
}

fn a_datagram_ends_with_its_bytes(scene: &Scene<'_>) {
    scene.run(async {
        let (a, b) = datagram_pair(scene).await;
        for datagram in [&b"too long"[..], b"", b"next"] {
            let sent = a.send_to(datagram, b.address()).await.unwrap();
            assert_eq!(sent, datagram.len());
        }
        let mut buf = [0; 4];
        // The rest of the first is no datagram of its own, and the empty one is no end.
        for expected in [&b"too "[..], b"", b"next"] {
            let (received, from) = b.recv_from(&mut buf).await.unwrap();
            assert_eq!((&buf[..received], from), (expected, a.address()));
        }
    });
}
