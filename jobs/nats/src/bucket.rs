//! A bucket of keys and values, where each write compares the revision.
//!
//! # Comparing, with replicas
//!
//! A server of version 2.9 that leads a stream with replicas compares the revision when a write
//! comes in, not when the replicas agree on it. So of two concurrent writes with the same revision,
//! both may be written. (A worker's heartbeat overwrote its own verdict.) The message's id,
//! however, is compared when the write is agreed on, on each replica. So with replicas each write
//! also has an id, made of its key and the revision that it follows. Of concurrent writes, one is
//! written and the others are duplicates of it; a later write has a revision that is compared
//! correctly.
//!
//! # Two values of each key
//!
//! For each record the server keeps the last two values. When a key has more values than the stream
//! keeps, the server removes the first value, and searches for it from the block in which it last
//! knew the key's first value. With one value for each key, the third write of a key searches all
//! blocks since the key's first write. That takes 700 µs among 300,000 records; other writes take
//! 25 µs. With two values, the third write, which settles a job, removes a value whose block is
//! known. Later versions of the server keep track of the block. [`Bucket::remove`] describes the
//! consequence for removing a key.
//!
//! # In NATS
//!
//! The streams are laid out as those of NATS's own buckets, and can be read with its tools. They
//! are used by the revision alone, and important reads go to the leader: the client's own reads may
//! go to a replica that has not received the last write yet.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use async_nats::{
    HeaderMap, header,
    jetstream::{
        Context,
        consumer::{AckPolicy, pull},
        context::PublishErrorKind,
        message::PublishMessage,
        response::Response,
        stream::{
            Config, DirectGetErrorKind, DiscardPolicy, RawMessageErrorKind, StorageType, Stream,
        },
    },
};
use fourway_jobs_engine::EngineError;
use futures_util::StreamExt;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    again::persistently,
    failed::{jetstream, unavailable},
    store::get_or_create,
};

const OPERATION: &str = "KV-Operation";

#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    context: Context,
    pub(crate) stream: Stream,
    subject: String,
    timeout: Duration,
}

/// How long the server remembers ids of writes: longer than a write is on its way, an election
/// included.
const ON_THE_WAY: Duration = Duration::from_secs(30);

/// How many marks are read at a time.
const AT_A_TIME: usize = 1000;

/// After how long the server forgets an inactive reader of marks.
const INACTIVE: Duration = Duration::from_secs(300);

/// A value, or the mark that there was one.
#[derive(Debug)]
pub(crate) struct Value {
    /// `None` is a mark.
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) revision: u64,
    /// The revision that this value replaced. The replaced value may still exist.
    pub(crate) before: Option<u64>,
    /// When it was written, on the server's clock, in milliseconds since 1970.
    pub(crate) written_at: u64,
}

/// The mark of a key that was removed.
pub(crate) struct Mark {
    pub(crate) revision: u64,
    /// The revision that it replaced.
    pub(crate) before: Option<u64>,
    pub(crate) written_at: u64,
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Written {
    /// Written with this revision.
    As(u64),
    /// Not written: another process has written since.
    Conflict,
}

impl Bucket {
    pub(crate) async fn open(
        context: &Context,
        name: &str,
        replicas: usize,
        history: i64,
        timeout: Duration,
    ) -> Result<Self, EngineError> {
        let config = Config {
            name: format!("KV_{name}"),
            subjects: vec![format!("$KV.{name}.>")],
            max_messages_per_subject: history,
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            num_replicas: replicas,
            duplicate_window: ON_THE_WAY,
            allow_rollup: true,
            allow_direct: true,
            ..Config::default()
        };
        Ok(Self {
            context: context.clone(),
            stream: get_or_create(context, config, timeout).await?,
            subject: format!("$KV.{name}."),
            timeout,
        })
    }

    pub(crate) fn subject(&self, key: &str) -> String {
        format!("{}{key}", self.subject)
    }

    /// The key of a subject.
    pub(crate) fn key<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(&*self.subject)
    }

    /// Reads from the leader.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Value>, EngineError> {
        persistently(self.timeout, || self.get_once(key)).await
    }

    async fn get_once(&self, key: &str) -> Result<Option<Value>, EngineError> {
        let message = self.stream.raw_message_builder();
        match message.last_by_subject(self.subject(key)).send().await {
            Ok(message) => Ok(Some(Value::of(message))),
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                RawMessageErrorKind::JetStream(error) => Err(jetstream(&error)),
                _ => Err(unavailable(error)),
            },
        }
    }

    /// Reads from any replica, which is cheaper. Only for values that are then written with the
    /// revision that was found.
    pub(crate) async fn get_near(&self, key: &str) -> Result<Option<Value>, EngineError> {
        persistently(self.timeout, || self.get_near_once(key)).await
    }

    async fn get_near_once(&self, key: &str) -> Result<Option<Value>, EngineError> {
        let subject = self.subject(key);
        match self.stream.direct_get_last_for_subject(subject).await {
            Ok(message) => Ok(Some(Value::of(message))),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Writes, if the key still has that revision; 0 stands for a key that never existed.
    pub(crate) async fn put(
        &self,
        key: &str,
        bytes: Vec<u8>,
        revision: u64,
    ) -> Result<Written, EngineError> {
        let message = PublishMessage::build().payload(bytes.into());
        self.write(key, message, revision).await
    }

    /// Leaves a mark in its place, if the key still has that revision.
    ///
    /// Earlier values of the key stay. Once the mark is [deleted](Self::delete), the last of them
    /// would be the key's value again. So they must be deleted first; [`replaced`] gives the last.
    pub(crate) async fn remove(&self, key: &str, revision: u64) -> Result<Written, EngineError> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, "DEL");
        let message = PublishMessage::build().headers(headers);
        self.write(key, message, revision).await
    }

    async fn write(
        &self,
        key: &str,
        message: PublishMessage,
        revision: u64,
    ) -> Result<Written, EngineError> {
        let mut message = message.expected_last_subject_sequence(revision);
        if self.stream.cached_info().config.num_replicas > 1 {
            message = message.message_id(format!("{key}@{revision}"));
        }
        // After more than one try, an earlier one may have been written although its answer was
        // lost.
        let tries = AtomicU32::new(0);
        let write = || {
            // Relaxed: a number by itself.
            tries.fetch_add(1, Ordering::Relaxed);
            self.write_once(key, message.clone())
        };
        let written = persistently(self.timeout, write).await?;
        match written {
            Tried::As(revision) => Ok(Written::As(revision)),
            Tried::Conflict if tries.load(Ordering::Relaxed) == 1 => Ok(Written::Conflict),
            Tried::Conflict | Tried::Duplicate => self.is_ours(key, &message, revision).await,
        }
    }

    /// Whether the bucket keeps one value of each key, as an earlier version created it. Such a
    /// bucket has no earlier values to delete.
    pub(crate) fn keeps_one(&self) -> bool {
        self.stream.cached_info().config.max_messages_per_subject == 1
    }

    /// The same, asked of the server: the bucket may have been changed since it was opened.
    pub(crate) async fn keeps_one_now(&self) -> Result<bool, EngineError> {
        let info = persistently(self.timeout, async || {
            self.stream.get_info().await.map_err(unavailable)
        });
        Ok(info.await?.config.max_messages_per_subject == 1)
    }

    /// All marks, by reading the bucket to its end. Marks that are written meanwhile may be missing.
    pub(crate) async fn marks(&self) -> Result<Vec<Mark>, EngineError> {
        let config = pull::Config {
            ack_policy: AckPolicy::None,
            headers_only: true,
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let made = self.stream.create_consumer(config).await;
        let mut consumer = made.map_err(unavailable)?;
        let mut left = consumer.info().await.map_err(unavailable)?.num_pending;
        let mut marks = Vec::new();
        let mut progress = Instant::now();
        while left > 0 && progress.elapsed() <= self.timeout {
            let batch = consumer.fetch().max_messages(AT_A_TIME).messages();
            let mut batch = batch.await.map_err(unavailable)?;
            let mut any = false;
            while let Some(message) = timeout(self.timeout, batch.next())
                .await
                .map_err(unavailable)?
            {
                let message = message.map_err(unavailable)?;
                let info = message.info().map_err(unavailable)?;
                any = true;
                left = info.pending;
                if let Some(headers) = message.headers.as_ref().filter(|one| is_mark(one)) {
                    marks.push(Mark {
                        revision: info.stream_sequence,
                        before: replaced(headers),
                        written_at: millis(info.published.unix_timestamp_nanos()),
                    });
                }
            }
            if any {
                progress = Instant::now();
            } else {
                // The server that sends to this consumer does not know it yet; or nothing is left.
                sleep(Duration::from_millis(2)).await;
                left = consumer.info().await.map_err(unavailable)?.num_pending;
            }
        }
        let name = consumer.cached_info().name.clone();
        // If this fails, the server forgets it by itself.
        let _ = self.stream.delete_consumer(&name).await;
        Ok(marks)
    }

    /// As an administrator changes it.
    #[cfg(test)]
    pub(crate) async fn change(&self, config: Config) {
        self.context.update_stream(config).await.unwrap();
    }

    /// Deletes the value of that revision, or confirms that it is gone. It must not be the last
    /// value of a key with several values.
    pub(crate) async fn delete(&self, revision: u64) -> Result<(), EngineError> {
        persistently(self.timeout, || self.delete_once(revision)).await
    }

    async fn delete_once(&self, revision: u64) -> Result<(), EngineError> {
        #[derive(serde::Deserialize)]
        struct Deleted {}

        let name = &self.stream.cached_info().config.name;
        // The client's own method also overwrites the value, which is for secrets, and slow.
        let request = serde_json::json!({ "seq": revision, "no_erase": true });
        let subject = format!("STREAM.MSG.DELETE.{name}");
        let answer = self.context.request(subject, &request).await;
        match answer.map_err(unavailable)? {
            Response::Ok(Deleted {}) => Ok(()),
            // The server has several errors for a missing message.
            Response::Err { error } => match self.stream.get_raw_message(revision).await {
                Err(missing) if missing.kind() == RawMessageErrorKind::NoMessageFound => Ok(()),
                Err(missing) => Err(unavailable(missing)),
                Ok(_there) => Err(jetstream(&error)),
            },
        }
    }

    /// Whether the present value is the one that was sent. Each value contains a unique time, token
    /// or id.
    async fn is_ours(
        &self,
        key: &str,
        message: &PublishMessage,
        before: u64,
    ) -> Result<Written, EngineError> {
        let sent = message.clone().outbound_message("");
        let mark = sent.headers.as_ref().is_some_and(is_mark);
        let Some(there) = self.get(key).await? else {
            return Ok(Written::Conflict);
        };
        let ours = match &there.bytes {
            Some(bytes) => !mark && *bytes == *sent.payload,
            None => mark,
        };
        Ok(if ours && there.revision > before {
            Written::As(there.revision)
        } else {
            Written::Conflict
        })
    }

    async fn write_once(&self, key: &str, message: PublishMessage) -> Result<Tried, EngineError> {
        let write = async {
            let sent = self.context.send_publish(self.subject(key), message);
            sent.await?.await
        };
        match write.await {
            Ok(ack) if ack.duplicate => Ok(Tried::Duplicate),
            Ok(ack) => Ok(Tried::As(ack.sequence)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Ok(Tried::Conflict)
            }
            Err(error) => Err(unavailable(error)),
        }
    }
}

/// The server's answer to one try to write.
enum Tried {
    As(u64),
    /// The revision is another one.
    Conflict,
    /// It, or another write with the same revision, was on its way at the same time.
    Duplicate,
}

impl Value {
    fn of(message: async_nats::jetstream::message::StreamMessage) -> Self {
        let mark = is_mark(&message.headers);
        Self {
            bytes: (!mark).then(|| message.payload.into()),
            revision: message.sequence,
            before: replaced(&message.headers),
            written_at: millis(message.time.unix_timestamp_nanos()),
        }
    }
}

/// The revision that a value or a mark replaced.
pub(crate) fn replaced(headers: &HeaderMap) -> Option<u64> {
    let before = headers.get(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE)?;
    before.as_str().parse().ok().filter(|before| *before > 0)
}

/// A value was there, and was removed.
pub(crate) fn is_mark(headers: &HeaderMap) -> bool {
    headers.get(OPERATION).is_some()
}

pub(crate) fn millis(nanos: i128) -> u64 {
    u64::try_from(nanos / 1_000_000).unwrap_or_default()
}
