//! Converts the client's errors to the engine's: may the request work later?

use std::{error::Error, fmt};

use async_nats::jetstream::{self, ErrorCode};
use fourway_jobs_engine::EngineError;

/// The error for a server that cannot be reached, or a stream without a leader.
pub(crate) fn unavailable(error: impl fmt::Display) -> EngineError {
    EngineError::unavailable(Text(error.to_string()))
}

/// Errors of JetStream. Codes from 500 on are temporary, and so is a cluster whose servers do not
/// all know each other yet. Code 400 concerns the request, except for the limits of the account and
/// the stream. Those and other codes, such as for a missing stream, concern the store.
pub(crate) fn jetstream(error: &jetstream::Error) -> EngineError {
    if error.code() >= 500 || error.error_code() == ErrorCode::CLUSTER_NO_PEERS {
        return unavailable(error);
    }
    let limits = [
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
        ErrorCode::MAXIMUM_CONSUMERS_LIMIT,
        ErrorCode::MAXIMUM_STREAMS_LIMIT,
    ];
    if error.code() == 400 && !limits.contains(&error.error_code()) {
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

#[cfg(test)]
mod tests {
    use fourway_jobs_engine::EngineErrorKind;

    use super::*;

    #[test]
    fn limits_of_the_account_concern_the_store() {
        let kind = |code: u32, error_code: u32| {
            let error = serde_json::json!({
                "code": code, "err_code": error_code, "description": "an error",
            });
            jetstream(&serde_json::from_value(error).unwrap()).kind()
        };
        // As nats-server gives them.
        for limit in [10002, 10026, 10027] {
            assert_eq!(kind(400, limit), EngineErrorKind::Broken, "{limit}");
        }
        assert_eq!(kind(400, 10003), EngineErrorKind::Invalid, "bad request");
        assert_eq!(kind(404, 10059), EngineErrorKind::Broken, "no stream");
        assert_eq!(kind(503, 10023), EngineErrorKind::Unavailable, "resources");
    }
}
