//! The queue: a work-queue stream, and a consumer for each lane.
//!
//! JetStream hands each message to one consumer request, and hands it out again if it is not
//! acknowledged for a while. It only decides whose turn it is, and when. The job's record has its
//! true state.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{
    Client,
    jetstream::{
        Context, Message,
        consumer::{AckPolicy, Consumer, pull},
        stream::{
            Config, ConsumerErrorKind, RawMessageErrorKind, RetentionPolicy, StorageType, Stream,
        },
    },
};
use fourway_jobs_engine::EngineError;
use futures_util::StreamExt;
use tokio::{runtime::Handle, sync::mpsc, time::Instant};

use crate::{
    again::persistently,
    failed::{jetstream, unavailable},
    names::Lane,
    store::get_or_create,
};

/// How old the list of consumers may be. For that long a worker may not know of a kind's first job
/// with a new version or priority.
const FRESH: Duration = Duration::from_secs(1);

/// The period in which a message that is sent again counts as the same. Afterwards it is a second
/// message for the same job, which the job's record makes harmless.
const DUPLICATES: Duration = Duration::from_secs(120);

type Pull = Consumer<pull::Config>;

#[derive(Debug)]
pub(crate) struct Lanes {
    stream: Stream,
    client: Client,
    handle: Handle,
    prefix: String,
    ack_wait: Duration,
    timeout: Duration,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    lanes: HashMap<Lane, Pull>,
    listed: Option<Instant>,
}

/// A message that was handed to this process. A dropped message is handed to another process.
pub(crate) struct Turn {
    message: Option<Message>,
    client: Client,
    handle: Handle,
}

impl Turn {
    /// Takes the message out. The caller handles it and its acknowledgement from now on.
    pub(crate) fn take(mut self) -> Option<Message> {
        self.message.take()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let reply = self
            .message
            .take()
            .and_then(|message| message.reply.clone());
        if let Some(reply) = reply {
            let client = self.client.clone();
            // If this is lost, the message comes back a little later.
            self.handle
                .spawn(async move { client.publish(reply, "-NAK".into()).await.ok() });
        }
    }
}

impl Lanes {
    pub(crate) async fn open(
        context: &Context,
        client: &Client,
        handle: &Handle,
        prefix: &str,
        replicas: usize,
        ack_wait: Duration,
        timeout: Duration,
    ) -> Result<Self, EngineError> {
        let config = Config {
            name: Self::name(prefix),
            subjects: vec![format!("{prefix}.queue.>")],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            num_replicas: replicas,
            duplicate_window: DUPLICATES,
            ..Config::default()
        };
        Ok(Self {
            stream: get_or_create(context, config, timeout).await?,
            client: client.clone(),
            handle: handle.clone(),
            prefix: prefix.to_owned(),
            ack_wait,
            timeout,
            known: Mutex::default(),
        })
    }

    pub(crate) fn name(prefix: &str) -> String {
        format!("{prefix}-queue")
    }

    pub(crate) fn replicas(&self) -> usize {
        self.stream.cached_info().config.num_replicas
    }

    /// Makes sure that the lane has a consumer, so that workers find it.
    pub(crate) async fn ensure(&self, lane: &Lane) -> Result<Pull, EngineError> {
        if let Some(known) = self.known().lanes.get(lane) {
            return Ok(known.clone());
        }
        let name = lane.consumer();
        let config = pull::Config {
            durable_name: Some(name.clone()),
            filter_subject: lane.subject(&self.prefix),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.ack_wait,
            // No limit: the job counts its attempts itself, and a message is also handed out only
            // to wait.
            max_deliver: -1,
            // No limit: messages that wait for their time count as well.
            max_ack_pending: -1,
            ..pull::Config::default()
        };
        let make = || async {
            let made = self.stream.get_or_create_consumer(&name, config.clone());
            made.await.map_err(|error| match error.kind() {
                ConsumerErrorKind::JetStream(error) => jetstream(&error),
                _ => unavailable(error),
            })
        };
        let made = persistently(self.timeout, make).await?;
        self.known().lanes.insert(lane.clone(), made.clone());
        Ok(made)
    }

    /// The lanes for a worker that knows these kinds, those of a higher priority first.
    pub(crate) async fn of(
        &self,
        kinds: &[(String, u32)],
    ) -> Result<Vec<(Lane, Pull)>, EngineError> {
        for (kind, version) in kinds {
            let plain = Lane {
                kind: kind.clone(),
                version: *version,
                priority: 0,
            };
            self.ensure(&plain).await?;
        }
        let listed = self.known().listed;
        if listed.is_none_or(|listed| listed.elapsed() > FRESH) {
            for lane in persistently(self.timeout, || self.list()).await? {
                if kinds.iter().any(|(kind, _)| *kind == lane.kind) {
                    self.ensure(&lane).await?;
                }
            }
            self.known().listed = Some(Instant::now());
        }
        let known = self.known();
        let wanted = known.lanes.iter().filter(|(lane, _)| {
            kinds
                .iter()
                .any(|(kind, version)| *kind == lane.kind && lane.version <= *version)
        });
        let mut wanted: Vec<_> = wanted
            .map(|(lane, pull)| (lane.clone(), pull.clone()))
            .collect();
        drop(known);
        // Random order among equals, so that no kind starves.
        fastrand::shuffle(&mut wanted);
        wanted.sort_by_key(|(lane, _)| -i16::from(lane.priority));
        Ok(wanted)
    }

    /// The message with that sequence number, if it was not removed.
    pub(crate) async fn message(&self, sequence: u64) -> Result<Option<Vec<u8>>, EngineError> {
        let get = || async {
            match self.stream.get_raw_message(sequence).await {
                Ok(message) => Ok(Some(message.payload.into())),
                Err(error) => match error.kind() {
                    RawMessageErrorKind::NoMessageFound => Ok(None),
                    RawMessageErrorKind::JetStream(error) => Err(jetstream(&error)),
                    _ => Err(unavailable(error)),
                },
            }
        };
        persistently(self.timeout, get).await
    }

    async fn list(&self) -> Result<Vec<Lane>, EngineError> {
        let mut lanes = Vec::new();
        let mut names = self.stream.consumer_names();
        while let Some(name) = names.next().await {
            lanes.extend(Lane::of_consumer(&name.map_err(unavailable)?));
        }
        Ok(lanes)
    }

    /// The messages that are there at once.
    pub(crate) async fn pull(
        &self,
        lane: &Lane,
        pull: &Pull,
        most: usize,
    ) -> Result<Vec<Turn>, EngineError> {
        let mut turns = Vec::new();
        let pulled = self.pull_into(&mut turns, pull, most).await;
        match pulled {
            Err(error) if turns.is_empty() => {
                // The consumer may have been removed: it is looked for again.
                self.known().lanes.remove(lane);
                Err(error)
            }
            _ => Ok(turns),
        }
    }

    async fn pull_into(
        &self,
        turns: &mut Vec<Turn>,
        pull: &Pull,
        most: usize,
    ) -> Result<(), EngineError> {
        let batch = pull.fetch().max_messages(most).messages().await;
        let mut batch = batch.map_err(unavailable)?;
        // The server answers at once, unless it has died.
        while let Some(message) = tokio::time::timeout(self.timeout, batch.next())
            .await
            .map_err(unavailable)?
        {
            turns.push(self.turn(message.map_err(unavailable)?));
        }
        Ok(())
    }

    /// The first message that comes in any of the lanes, with a time limit.
    pub(crate) async fn first(
        &self,
        lanes: &[(Lane, Pull)],
        patience: Duration,
    ) -> Result<Option<Turn>, EngineError> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        for (_, pull) in lanes {
            let pull = pull.clone();
            let sender = sender.clone();
            let turn = self.maker();
            // In separate tasks, which wait for a sent request to its end: a message without a
            // listener would be lost until its time is up.
            self.handle.spawn(async move {
                let batch = pull.batch().max_messages(1).expires(patience).messages();
                let first = match batch.await {
                    Ok(mut batch) => batch.next().await,
                    Err(error) => Some(Err(error.into())),
                };
                if let Some(first) = first {
                    let first = first.map(turn).map_err(unavailable);
                    // Without a listener the message is dropped, and so handed to another process.
                    let _ = sender.send(first);
                }
            });
        }
        drop(sender);
        receiver.recv().await.transpose()
    }

    fn turn(&self, message: Message) -> Turn {
        self.maker()(message)
    }

    fn maker(&self) -> impl FnOnce(Message) -> Turn + Send + use<> {
        let client = self.client.clone();
        let handle = self.handle.clone();
        move |message| Turn {
            message: Some(message),
            client,
            handle,
        }
    }

    /// After how long a message of the lane comes back by itself; `None` if unknown
    /// here.
    fn comes_back_after(&self, lane: &Lane) -> Option<Duration> {
        let known = self.known();
        let info = known.lanes.get(lane)?.cached_info();
        Some(info.config.ack_wait)
    }

    /// The job was handed out: its message must come back when the lease has run out.
    pub(crate) async fn hold_at_first(
        &self,
        ack: &str,
        lane: &Lane,
        lease: Duration,
    ) -> Result<(), EngineError> {
        if self.comes_back_after(lane) == Some(lease) {
            return Ok(());
        }
        self.later(ack, lease).await
    }

    /// The lease begins anew.
    pub(crate) async fn hold(
        &self,
        ack: &str,
        lane: &Lane,
        lease: Duration,
    ) -> Result<(), EngineError> {
        if self.comes_back_after(lane) == Some(lease) {
            return self.say(ack, "+WPI".to_owned()).await;
        }
        self.later(ack, lease).await
    }

    /// The message must come back after this delay.
    pub(crate) async fn later(&self, ack: &str, delay: Duration) -> Result<(), EngineError> {
        // Go's durations have a sign.
        let nanos = i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX / 2);
        let word = if nanos == 0 {
            "-NAK".to_owned()
        } else {
            format!("-NAK {{\"delay\": {nanos}}}")
        };
        self.say(ack, word).await
    }

    /// The job has ended: its message is removed.
    pub(crate) async fn done(&self, ack: &str) -> Result<(), EngineError> {
        self.say(ack, "+ACK".to_owned()).await
    }

    /// Without an answer: if it is lost, the message comes back, and the job's record tells what
    /// to do with it.
    async fn say(&self, ack: &str, word: String) -> Result<(), EngineError> {
        let said = self.client.publish(ack.to_owned(), word.into()).await;
        said.map_err(unavailable)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
