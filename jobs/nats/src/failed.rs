//! Converts the client's errors to the engine's: may the request work later?

use std::{error::Error, fmt};

use async_nats::jetstream::{self, ErrorCode};
use fourway_jobs_engine::EngineError;

/// The error for a server that cannot be reached, or a stream without a leader.
pub(crate) fn unavailable(error: impl fmt::Display) -> EngineError {
    EngineError::unavailable(Text(error.to_string()))
}

/// Errors of JetStream. Codes from 500 on are temporary, and so is a cluster whose servers do not
/// all know each other yet. Code 400 concerns the request. Other codes, such as for a missing
/// stream, concern the store.
pub(crate) fn jetstream(error: &jetstream::Error) -> EngineError {
    if error.code() >= 500 || error.error_code() == ErrorCode::CLUSTER_NO_PEERS {
        return unavailable(error);
    }
    if error.code() == 400 {
        return EngineError::invalid(Text(error.to_string()));
    }
    EngineError::broken(Text(error.to_string()))
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
