//! TCP.

mod connect;
mod listen;
mod listener;
mod stream;

pub use connect::ConnectTcp;
pub use listen::ListenTcp;
pub use listener::{Incoming, TcpListener};
pub use stream::TcpStream;
