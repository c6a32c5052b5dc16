//! NE-1: nothing is lost by dropping.

use std::{io, pin::pin, sync::Arc, task::Poll};

use futures_util::future::join;

use crate::{
    case::{Case, table},
    scene::{POLLS, Scene, Woken, datagram_pair, poll_times, read_to_end, write_all},
};

pub(super) fn cases() -> Vec<Case> {
    table! {
        "NE-1.1", "a dropped accept loses no connection", a_dropped_accept_loses_no_connection;
        "NE-1.2", "a dropped read loses no bytes", a_dropped_read_loses_no_bytes;
        "NE-1.3", "a dropped write has sent nothing", a_dropped_write_has_sent_nothing;
        "NE-1.4", "a dropped connect closes its socket", a_dropped_connect_closes_its_socket;
        "NE-1.5", "a dropped peek takes nothing", a_dropped_peek_takes_nothing;
        "NE-1.6", "a dropped receive loses no datagram", a_dropped_receive_loses_no_datagram,
            datagrams true;
    }
}

fn a_dropped_accept_loses_no_connection(scene: &Scene<'_>) {
    scene.run(async {
        let listener = scene.net.listen().await.unwrap();
        for (polls, ready) in POLLS {
            let mut accept = Box::pin(listener.accept());
            let woken = Arc::new(Woken::default());
            assert!(woken.poll(accept.as_mut()).is_pending());
            let stream = scene.connect(listener.address()).await.unwrap();
            if ready {
                woken.until(scene.rt()).await;
            }
            let accepted = poll_times(scene.rt(), accept.as_mut(), polls).await;
            drop(accept);
            match accepted {
                Some(accepted) => drop(accepted.unwrap()),
                None => drop(listener.accept().await.unwrap()),
            }
            drop(stream);
        }
    });
}

fn a_dropped_read_loses_no_bytes(scene: &Scene<'_>) {
    scene.run(async {
        let (mut a, mut b) = scene.pair().await;
        for (i, (polls, ready)) in (0u8..).zip(POLLS) {
            let mut buf = [0xff; 1];
            let mut read = Box::pin(b.read(&mut buf));
            let woken = Arc::new(Woken::default());
            assert!(woken.poll(read.as_mut()).is_pending());
            write_all(&mut *a, &[i]).await.unwrap();
            if ready {
                woken.until(scene.rt()).await;
            }
            let has_read = poll_times(scene.rt(), read.as_mut(), polls).await;
            drop(read);
            if has_read.is_none() {
                // Peeking takes nothing either.
                assert_eq!(b.peek(&mut [0]).await.unwrap(), 1);
                b.read(&mut buf).await.unwrap();
            }
            assert_eq!(buf, [i]);
        }
    });
}

fn a_dropped_write_has_sent_nothing(scene: &Scene<'_>) {
    scene.run(async {
        let (mut a, mut b) = scene.pair().await;
        let mut sent = 0;
        let bytes = vec![1; 1 << 20];
        // Until there is no room for more, and beyond.
        for _ in 0..64 {
            let written = poll_times(scene.rt(), pin!(a.write(&bytes)), 1).await;
            sent += written.map_or(0, Result::unwrap);
        }
        let ending = async {
            a.end().await.unwrap();
        };
        let ((), received) = join(ending, read_to_end(&mut *b)).await;
        assert_eq!(received.unwrap().len(), sent);
    });
}

fn a_dropped_connect_closes_its_socket(scene: &Scene<'_>) {
    scene.run(async {
        let listener = scene.net.listen().await.unwrap();
        for (polls, ready) in POLLS {
            let mut connect = Box::pin(scene.connect(listener.address()));
            let woken = Arc::new(Woken::default());
            let mut connected = None;
            if ready {
                match woken.poll(connect.as_mut()) {
                    Poll::Ready(stream) => connected = Some(stream),
                    Poll::Pending => woken.until(scene.rt()).await,
                }
            }
            if connected.is_none() {
                connected = poll_times(scene.rt(), connect.as_mut(), polls).await;
            }
            drop(connect);
            if polls > 0 || ready {
                // Connected or not: the other side reads an end.
                drop(connected);
                let mut accepted = listener.accept().await.unwrap();
                match accepted.read(&mut [0]).await {
                    Ok(read) => assert_eq!(read, 0),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
                }
            }
        }
    });
}

fn a_dropped_peek_takes_nothing(scene: &Scene<'_>) {
    scene.run(async {
        let (mut a, mut b) = scene.pair().await;
        for (i, (polls, ready)) in (0u8..).zip(POLLS) {
            let mut buf = [0xff; 1];
            let mut peek = Box::pin(b.peek(&mut buf));
            let woken = Arc::new(Woken::default());
            assert!(woken.poll(peek.as_mut()).is_pending());
            write_all(&mut *a, &[i]).await.unwrap();
            if ready {
                woken.until(scene.rt()).await;
            }
            let peeked = poll_times(scene.rt(), peek.as_mut(), polls).await;
            drop(peek);
            if let Some(peeked) = peeked {
                assert_eq!((peeked.unwrap(), buf), (1, [i]));
            }
            // Once: the next turn begins with a peek that finds nothing.
            assert_eq!(b.read(&mut buf).await.unwrap(), 1);
            assert_eq!(buf, [i]);
        }
    });
}

fn a_dropped_receive_loses_no_datagram(scene: &Scene<'_>) {
    scene.run(async {
        let (a, b) = datagram_pair(scene).await;
        for (i, (polls, ready)) in (0u8..).zip(POLLS) {
            let mut buf = [0xff; 2];
            let mut receive = b.recv_from(&mut buf);
            let woken = Arc::new(Woken::default());
            assert!(woken.poll(receive.as_mut()).is_pending());
            a.send_to(&[i], b.address()).await.unwrap();
            if ready {
                woken.until(scene.rt()).await;
            }
            let received = poll_times(scene.rt(), receive.as_mut(), polls).await;
            drop(receive);
            let received = match received {
                Some(received) => received,
                None => b.recv_from(&mut buf).await,
            };
            assert_eq!(received.unwrap(), (1, a.address()));
            assert_eq!(buf[0], i);
        }
    });
}
