//! A server that drains: at Ctrl-C or SIGTERM it takes no more connections, gives those it has
//! five seconds, and ends.
//!
//! ```console
//! $ cargo run -p fourway-nursery --example drain -- 127.0.0.1:8080
//! $ curl http://127.0.0.1:8080/
//! ```

use std::{error::Error, future::pending, io, pin::pin, time::Duration};

use fourway_core::{BlockOn, Runtime, cancel};
use fourway_nursery::{Nursery, NurseryError, shield};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    signal,
};

fn main() -> Result<(), Box<dyn Error>> {
    let rt = fourway_tokio::Tokio::builder()
        .build()
        .expect("threads are to be had");
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:8080");
    rt.block_on(async {
        // Listened for from here on, in one future: a signal between two connections, or while all
        // places are taken, is not lost.
        let terminated = terminated()?;
        let listener = TcpListener::bind(address).await?;
        println!("listening on {}", listener.local_addr()?);
        Ok(serve(&rt, &listener, terminated).await?)
    })
}

/// Where connections come from: a socket, or something else in a test.
pub(crate) trait Listener {
    type Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection. A call that is dropped loses none.
    fn next(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

impl Listener for TcpListener {
    type Connection = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

/// Serves until `terminated`, and then those that it has.
pub(crate) async fn serve<R: Runtime>(
    rt: &R,
    listener: &impl Listener,
    terminated: impl Future<Output = ()>,
) -> Result<(), NurseryError<io::Error>> {
    let nursery = Nursery::builder(rt)
        .limit(1000)
        .grace(Duration::from_secs(5));
    nursery
        // The failure of one connection is not the server's.
        .supervise()
        .on_failure(|failure| eprintln!("a connection: {failure}"))
        .run(async |n| {
            let mut terminated = pin!(terminated);
            loop {
                let next = async {
                    // The place first: no connection is taken that could not be served.
                    let Ok(place) = n.reserve().await else {
                        // The nursery is being cancelled, and this body with it.
                        return pending().await;
                    };
                    (place, accept(n.runtime(), listener).await)
                };
                let (place, stream) = tokio::select! {
                    next = next => next,
                    () = &mut terminated => {
                        println!("draining {} connections", n.len() - 1);
                        n.cancel();
                        return Ok(());
                    }
                };
                let rt = n.runtime().clone();
                if place
                    .spawn(async move { answer(&rt, stream).await })
                    .is_err()
                {
                    return Ok(());
                }
            }
        })
        .await
}

/// The next connection. A connection that is gone before it is accepted, or a lack of descriptors,
/// is no reason to end. The lack takes a moment to change.
async fn accept<R: Runtime, L: Listener>(rt: &R, listener: &L) -> L::Connection {
    loop {
        match listener.next().await {
            Ok(stream) => return stream,
            Err(error) => {
                eprintln!("no connection: {error}");
                rt.sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer<R: Runtime>(
    rt: &R,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut request = [0; 4096];
    // A connection that says nothing is not waited for when the server drains.
    let token = cancel::current();
    if token
        .run_until_cancelled(stream.read(&mut request))
        .await
        .is_err()
    {
        return Ok(());
    }
    // An answer that has been begun is finished.
    shield(async {
        rt.sleep(Duration::from_millis(500)).await; // work
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nhello\n")
            .await
    })
    .await
}

/// Waits for Ctrl-C or, on Unix, SIGTERM, from the moment of the call on.
#[cfg(unix)]
fn terminated() -> io::Result<impl Future<Output = ()>> {
    use signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(windows)]
fn terminated() -> io::Result<impl Future<Output = ()>> {
    let mut pressed = signal::windows::ctrl_c()?;
    Ok(async move {
        pressed.recv().await;
    })
}
