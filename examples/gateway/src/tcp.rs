//! A proxy for any TCP protocol: it passes on bytes both ways, and each end.

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

use fourway_core::{Runtime, cancel::CancellationToken};
use fourway_hyper::Drain;
use fourway_net::{Keepalive, Net, TcpListener, TcpStream, is_final};
use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::try_join};

use crate::{Log, Metrics, gateway::cannot_accept, log::Stamp};

/// Connects each connection with one to `upstream`, until `stop` is cancelled or the listener no
/// longer listens. Open connections may then go on for the grace period of `limits`, and are cut
/// off after it. `errors` gets a line for each connection that cannot be accepted, or for which
/// `upstream` cannot be connected to.
pub async fn serve<R: Runtime>(
    runtime: &R,
    listener: TcpListener,
    upstream: String,
    limits: Limits,
    metrics: Arc<Metrics>,
    errors: &Log,
    stop: &CancellationToken,
) -> Drain {
    let mut drain = Drain::default();
    let upstream: Arc<str> = upstream.into();
    let cut = CancellationToken::new();
    // The last connection to end cancels this.
    let ended = CancellationToken::new();
    let all = Arc::new(ended.clone().drop_guard());
    let accepting = async {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    drain.accept_errors += 1;
                    cannot_accept(&metrics, errors, &error);
                    if is_final(&error) {
                        drain.error = Some(error);
                        return;
                    }
                    continue;
                }
            };
            drain.accepted += 1;
            if metrics.tcp_connections.get() >= limits.connections {
                // Closed at once, so that the client can go elsewhere.
                metrics.refused_busy.add();
                continue;
            }
            let open = (Open::new(&metrics), all.clone());
            let (runtime, upstream, cut) = (runtime.clone(), upstream.clone(), cut.clone());
            let errors = errors.clone();
            runtime.clone().spawn_detached(async move {
                let metrics = &open.0.0;
                let relay = async {
                    let server = connect(&runtime, &upstream, limits.connect_timeout);
                    let server = server
                        .await
                        .inspect_err(|error| cannot_connect(metrics, &errors, &upstream, error))?;
                    // A later error concerns the two peers, which have seen it.
                    relay(&runtime, stream, server, limits.send_timeout).await
                };
                let ended = cut.run_until_cancelled(relay).await;
                let is_stalled = |error: io::Error| {
                    let error = error.get_ref();
                    error.is_some_and(|it| it.is::<TookNothing>())
                };
                if ended.is_ok_and(|ended| ended.is_err_and(is_stalled)) {
                    metrics.send_timeouts.add();
                }
                drop(open);
            });
        }
    };
    let _ = stop.run_until_cancelled(accepting).await;
    drop((listener, all));
    let drained = runtime.timeout(limits.grace, ended.cancelled()).await;
    if drained.is_err() {
        // The cast is exact: the connections fit into memory.
        drain.cut = metrics.tcp_connections.get() as usize;
    }
    cut.cancel();
    ended.cancelled().await;
    drain
}

/// The limits of a TCP proxy.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// At a time; more are closed at once.
    pub connections: u64,
    /// To the upstream.
    pub connect_timeout: Duration,
    /// How long either side may take nothing, or too little, of what the other has sent; then both
    /// connections are closed. A connection without anything to send has no limit.
    pub send_timeout: Duration,
    /// How long connections may go on once it stops.
    pub grace: Duration,
}

/// A connection that counts.
struct Open(Arc<Metrics>);

impl Open {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.tcp_connections.add();
        Self(metrics.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.tcp_connections.sub();
    }
}

/// The client is closed without a word, so somebody else has to be told.
fn cannot_connect(metrics: &Metrics, errors: &Log, upstream: &str, error: &io::Error) {
    metrics.connect_errors.add();
    let line = || format!("{} cannot connect to {upstream}: {error}", Stamp::now());
    metrics.logged(errors.line(line));
}

/// So that connections to vanished machines end at last.
fn alive() -> Keepalive {
    Keepalive::new().idle(Duration::from_secs(60)).retries(4)
}

async fn connect<R: Runtime>(runtime: &R, upstream: &str, time: Duration) -> io::Result<TcpStream> {
    let connect = runtime.connect_tcp(upstream).timeout(time);
    connect.nodelay(true).keepalive(alive()).await
}

async fn relay<R: Runtime>(
    runtime: &R,
    client: TcpStream,
    server: TcpStream,
    time: Duration,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    client.set_keepalive(Some(alive()))?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // The first that fails drops the other with all four halves, and so both connections.
    let up = copy(runtime, from_client, to_server, time);
    let down = copy(runtime, from_server, to_client, time);
    try_join(up, down).await?;
    Ok(())
}

/// Copies until an end, which it passes on. It reads only as much as it can write, so a slow reader
/// slows the writer down.
async fn copy<R: Runtime>(
    runtime: &R,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    time: Duration,
) -> io::Result<()> {
    let mut buf = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buf).await?;
        if read == 0 {
            return to.close().await;
        }
        let mut left = &buf[..read];
        while !left.is_empty() {
            let write = runtime.timeout(time, to.write(left));
            let written = write.await.map_err(|_| io::Error::other(TookNothing))??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            left = &left[written..];
        }
    }
}

/// See [`Limits::send_timeout`].
#[derive(Debug)]
struct TookNothing;

impl fmt::Display for TookNothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer took too little of what was sent for too long")
    }
}

impl Error for TookNothing {}
