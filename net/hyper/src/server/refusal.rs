//! The response to a request whose head is not complete in time: [`refuse`].

use std::{future::poll_fn, io, pin::Pin, time::Duration};

use fourway_core::Runtime;
use futures_io::{AsyncRead, AsyncWrite};

/// hyper itself closes such a connection without a response.
const LATE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// The limit for sending the response and for the peer to close. Without this wait, bytes that the
/// peer still sends would reset the connection, and the peer could lose the response.
const LINGER: Duration = Duration::from_secs(1);

/// Answers with 408, and closes.
pub(super) async fn refuse<R: Runtime, T>(runtime: &R, stream: T)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    // The timeout has been reported; a failed response needs no other report.
    let _ = runtime.timeout(LINGER, say(stream)).await;
}

async fn say<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T) -> io::Result<()> {
    let mut left = LATE;
    while !left.is_empty() {
        let written = poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, left)).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        left = &left[written..];
    }
    poll_fn(|cx| Pin::new(&mut stream).poll_close(cx)).await?;
    let mut unread = [0; 512];
    while poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut unread)).await? > 0 {}
    Ok(())
}
