//! The id of a job: [`JobId`].

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    process,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ulid::Ulid;

/// Names one job: unique, sortable by the time of submission, printable and parseable.
///
/// It is a [ULID](https://github.com/ulid/spec): 26 characters, of which the first ten are the
/// time in milliseconds. The ids of one manager are in the order of submission, also within a
/// millisecond.
///
/// # Examples
///
/// ```
/// use fourway_jobs::JobId;
///
/// let id: JobId = "01KB2Z8V3N0000000000000000".parse()?;
/// assert_eq!(id.to_string(), "01KB2Z8V3N0000000000000000");
/// # Ok::<(), fourway_jobs::ParseJobIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId {
    // In two halves, and not one number, which would have every record aligned to 16 bytes.
    high: u64,
    low: u64,
}

/// The bits of an id that count the jobs of a manager; those above tell managers apart.
const COUNTER_BITS: u32 = 48;

impl JobId {
    pub(crate) fn new(millis: u64, manager: u32, number: u64) -> Self {
        let random = u128::from(manager) << COUNTER_BITS | u128::from(number);
        Self::from_ulid(Ulid::from_parts(millis, random))
    }

    /// A number for the ids of a manager, by chance.
    pub(crate) fn new_manager() -> u32 {
        let mut hash = DefaultHasher::new();
        // The thread's generator alone would be the same in forked siblings, which have a copy each.
        (process::id(), SystemTime::now(), fastrand::u64(..)).hash(&mut hash);
        hash.finish() as u32
    }

    fn from_ulid(ulid: Ulid) -> Self {
        Self {
            high: (ulid.0 >> 64) as u64,
            low: ulid.0 as u64,
        }
    }

    fn ulid(self) -> Ulid {
        Ulid(u128::from(self.high) << 64 | u128::from(self.low))
    }

    pub(crate) fn halves(self) -> (u64, u64) {
        (self.high, self.low)
    }

    pub(crate) fn from_halves(high: u64, low: u64) -> Self {
        Self { high, low }
    }

    /// How many jobs of the same manager came before.
    pub(crate) fn number(self) -> u64 {
        self.low & ((1 << COUNTER_BITS) - 1)
    }

    /// When the job was submitted, in milliseconds.
    #[must_use]
    pub fn submitted_at(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.ulid().timestamp_ms())
    }

    /// The 16 bytes of the id, in the order in which ids sort.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.ulid().to_bytes()
    }

    /// The id of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::from_ulid(Ulid::from_bytes(bytes))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; ulid::ULID_LEN];
        f.pad(self.ulid().array_to_str(&mut buffer))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({self})")
    }
}

impl FromStr for JobId {
    type Err = ParseJobIdError;

    fn from_str(text: &str) -> Result<Self, ParseJobIdError> {
        // 26 digits have two bits more than an id. The library drops these, and would find the same
        // job under four texts.
        let fits = text.starts_with(|first: char| ('0'..='7').contains(&first));
        match Ulid::from_string(text) {
            Ok(ulid) if fits => Ok(Self::from_ulid(ulid)),
            _ => Err(ParseJobIdError(())),
        }
    }
}

/// The text is not a [`JobId`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseJobIdError(());

impl fmt::Display for ParseJobIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not the id of a job: it has 26 digits and letters, as a job's handle prints it",
        )
    }
}

impl std::error::Error for ParseJobIdError {}

#[cfg(feature = "serde")]
impl serde::Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
