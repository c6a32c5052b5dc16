//! A gateway: a reverse proxy for HTTP ([`Gateway`]), and a proxy for any TCP protocol
//! ([`tcp`]). It names no runtime; `main.rs` picks one.

#![forbid(unsafe_code)]

mod body;
mod gateway;
mod head;
mod headers;
mod host;
mod log;
mod metrics;
mod settings;
pub mod tcp;
pub mod tls;
mod upstream;

pub use body::Body;
pub use gateway::Gateway;
pub use headers::for_next_hop;
pub use host::{is_path, is_upstream};
pub use log::Log;
pub use metrics::Metrics;
pub use settings::{Settings, SettingsError};
