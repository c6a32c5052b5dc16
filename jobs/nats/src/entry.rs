//! The written form of an entry: a line of JSON, and bytes after it.

use fourway_jobs_engine::{EngineError, life::Life};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The entry of a job in the bucket of records. The bytes after it are its output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) life: Life,
    /// The subject for acknowledgements of the message by which the job was handed out last. After
    /// recording a change, any process may use it to settle the message.
    pub(crate) ack: Option<String>,
}

impl Entry {
    /// The entry of a job that was never handed out.
    pub(crate) fn new(life: Life) -> Self {
        Self { life, ack: None }
    }
}

/// The claim of a unique key. The bytes after it are the arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) life: Life,
}

pub(crate) fn write<T: Serialize>(line: &T, bytes: &[u8]) -> Result<Vec<u8>, EngineError> {
    let mut written = serde_json::to_vec(line).map_err(EngineError::invalid)?;
    // JSON of one line has no line feed in it.
    written.push(b'\n');
    written.extend_from_slice(bytes);
    Ok(written)
}

pub(crate) fn read<T: DeserializeOwned>(written: &[u8]) -> Result<(T, &[u8]), EngineError> {
    let end = written.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| EngineError::invalid("what JetStream holds is not a job"))?;
    let line = serde_json::from_slice(&written[..end]).map_err(EngineError::invalid)?;
    Ok((line, &written[end + 1..]))
}
