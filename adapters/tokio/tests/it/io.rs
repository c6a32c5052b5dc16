//! I/O is on in every runtime that fourway builds.

use std::io;

use fourway_core::BlockOn;
use fourway_tokio::Tokio;
use tokio::net::{TcpListener, TcpStream};

async fn connect() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let (accepted, connected) = tokio::join!(listener.accept(), TcpStream::connect(address));
    accepted?;
    connected?;
    Ok(())
}

#[test]
fn multi_thread() {
    Tokio::builder()
        .build()
        .unwrap()
        .block_on(connect())
        .unwrap();
}

#[test]
fn current_thread() {
    let rt = Tokio::builder().current_thread().build().unwrap();
    rt.block_on(connect()).unwrap();
}
