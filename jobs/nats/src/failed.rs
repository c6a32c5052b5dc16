//! Errors of the client's as the engine's: whether it may be better later.

use std::{error::Error, fmt};

use async_nats::jetstream::{self, ErrorCode};
use fourway_jobs_engine::EngineError;

/// What cannot be reached, or has no leader at the moment.
pub(crate) fn unavailable(error: impl fmt::Display) -> EngineError {
    EngineError::unavailable(Text(error.to_string()))
}

/// What JetStream answers: 500 and more pass, and so does a cluster whose servers do not all know
/// each other yet; what is said of the request itself does not.
pub(crate) fn jetstream(error: &jetstream::Error) -> EngineError {
    if error.code() >= 500 || error.error_code() == ErrorCode::CLUSTER_NO_PEERS {
        return unavailable(error);
    }
    EngineError::invalid(Text(error.to_string()))
}

/// Not all of the client's errors can be sent to other threads and cloned; their text can.
#[derive(Debug)]
struct Text(String);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Text {}
