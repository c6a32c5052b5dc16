//! Unix sockets.

mod connect;
mod datagram;
mod listener;
mod path;
mod stream;

pub use connect::ConnectUnix;
pub use datagram::UnixDatagram;
pub use listener::{UnixIncoming, UnixListener};
pub use stream::UnixStream;

pub(crate) use path::check_path;
