//! The written form of an entry: a line of JSON, and bytes after it.

use fourway_jobs_engine::{EngineError, JobState, life::Life};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The entry of a job in the bucket of records. The bytes after it are its output, or else the
/// arguments of a job that has ended, as its message is gone then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) life: Life,
    /// The subject for acknowledgements of the message by which the job was handed out last. After
    /// recording a change, any process may use it to settle the message.
    pub(crate) ack: Option<String>,
    /// The sequence number of the message that was sent last, until it is handed out. Programs that
    /// did not know of retries wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<u64>,
    /// It has ended, and the bytes are its arguments.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) has_args: bool,
}

impl Entry {
    /// The entry of a job that was never handed out.
    pub(crate) fn new(life: Life) -> Self {
        Self {
            life,
            ack: None,
            message: None,
            has_args: false,
        }
    }

    /// The entry of a job whose message was sent.
    pub(crate) fn sent(life: Life, message: u64) -> Self {
        Self {
            message: Some(message),
            ..Self::new(life)
        }
    }

    /// It has ended in a state in which it may be tried again.
    pub(crate) fn may_be_retried(&self) -> bool {
        let state = self.life.record.state;
        state.is_finished() && state != JobState::Completed
    }

    /// The sequence number of its message in the stream.
    pub(crate) fn message(&self) -> Option<u64> {
        let of_ack = |ack: &String| {
            // `$JS.ACK.STREAM.CONSUMER.DELIVERED.SEQUENCE.…`, or with the domain and the account before the
            // stream; then there is a token more at its end.
            let tokens: Vec<_> = ack.split('.').collect();
            let at = if tokens.len() >= 11 { 7 } else { 5 };
            tokens.get(at)?.parse().ok()
        };
        self.ack.as_ref().and_then(of_ack).or(self.message)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(so: &bool) -> bool {
    !so
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

/// The readable part of an unreadable job's record, for queries.
pub(crate) struct Traits {
    pub(crate) kind: String,
    pub(crate) version: u32,
    pub(crate) state: JobState,
}

impl Traits {
    pub(crate) fn of(written: &[u8]) -> Self {
        let line = written.split(|byte| *byte == b'\n').next();
        let line: serde_json::Value = line
            .and_then(|line| serde_json::from_slice(line).ok())
            .unwrap_or_default();
        let record = &line["life"]["record"];
        let version = record["version"]
            .as_u64()
            .and_then(|one| one.try_into().ok());
        Self {
            kind: record["kind"].as_str().unwrap_or_default().to_owned(),
            version: version.unwrap_or_default(),
            // A job in an unknown state waits for a program that knows the state.
            state: serde_json::from_value(record["state"].clone()).unwrap_or(JobState::Scheduled),
        }
    }
}

#[cfg(test)]
mod tests {
    use fourway_jobs_engine::NewJob;

    use super::*;

    #[test]
    fn a_message_is_known_by_its_acknowledgement() {
        let (life, _) = Life::begin(NewJob::new("kind", 1, ""), 1000);
        let mut entry = Entry::sent(life.clone(), 7);
        assert_eq!(entry.message(), Some(7));
        let old = "$JS.ACK.jobs-queue.v1-p128-kind.2.41.3.1700000000000000000.0";
        let new = "$JS.ACK._.hash.jobs-queue.v1-p128-kind.2.42.3.1700000000000000000.0.token";
        for (ack, message) in [(old, 41), (new, 42)] {
            entry.ack = Some(ack.to_owned());
            assert_eq!(entry.message(), Some(message));
        }
        assert_eq!(Entry::new(life).message(), None);
    }

    /// A line that other programs read is as long as it was.
    #[test]
    fn a_record_of_an_earlier_program_is_read() {
        let (life, _) = Life::begin(NewJob::new("kind", 1, ""), 1000);
        let written = write(&Entry::new(life), b"").unwrap();
        let text = String::from_utf8(written).unwrap();
        assert!(
            !text.contains("has_args") && !text.contains("message"),
            "{text}"
        );
        let (entry, _) = read::<Entry>(text.as_bytes()).unwrap();
        assert!(!entry.has_args && entry.message.is_none());
    }

    #[test]
    fn what_can_be_read_of_a_record_is_read() {
        let (mut life, _) = Life::begin(NewJob::new("kind", 7, ""), 1000);
        life.record.state = JobState::Failed;
        let written = write(&Entry::new(life), b"output").unwrap();
        let traits = Traits::of(&written);
        assert_eq!((&*traits.kind, traits.version), ("kind", 7));
        assert_eq!(traits.state, JobState::Failed);
        let text = String::from_utf8(written).unwrap();
        for newer in [
            text.replace("\"max_attempts\"", "\"attempts_at_most\""),
            text.replace("\"failed\"", "\"lost in space\""),
        ] {
            assert!(read::<Entry>(newer.as_bytes()).is_err());
            assert_eq!(Traits::of(newer.as_bytes()).kind, "kind");
        }
        assert_eq!(Traits::of(b"no job").state, JobState::Scheduled);
    }
}
