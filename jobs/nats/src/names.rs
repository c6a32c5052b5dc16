//! Names in NATS: streams, subjects, consumers and keys.
//!
//! With the prefix `jobs`:
//!
//! | what | name |
//! |---|---|
//! | the stream of what waits for a worker | `jobs-queue`, subjects `jobs.queue.KIND.VERSION.PRIORITY` |
//! | the bucket of what is known of jobs | `jobs-records`, by the job's id |
//! | the bucket of unique keys, and of what the engine has to remember | `jobs-keys` |
//! | a consumer | `v1-p128-KIND` |

use std::fmt::Write;

use fourway_jobs_engine::EngineError;

/// Jobs of one kind, version and priority: one subject, one consumer, first come first served.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    pub(crate) kind: String,
    pub(crate) version: u32,
    pub(crate) priority: i8,
}

impl Lane {
    pub(crate) fn subject(&self, prefix: &str) -> String {
        format!(
            "{prefix}.queue.{}.{}.{}",
            written(&self.kind),
            self.version,
            self.level()
        )
    }

    pub(crate) fn consumer(&self) -> String {
        format!(
            "v{}-p{}-{}",
            self.version,
            self.level(),
            written(&self.kind)
        )
    }

    /// Whether the server takes its names.
    pub(crate) fn checked(&self) -> Result<(), EngineError> {
        // A consumer's name is that of a file on the server.
        const LONGEST: usize = 200;
        if self.consumer().len() > LONGEST {
            return Err(EngineError::invalid(format!(
                "the kind of {} bytes is too long for a name in NATS: use a shorter one",
                self.kind.len()
            )));
        }
        Ok(())
    }

    /// The lane of a consumer. `None` if it is not one of ours.
    pub(crate) fn of_consumer(name: &str) -> Option<Self> {
        let (version, rest) = name.strip_prefix('v')?.split_once("-p")?;
        let (level, kind) = rest.split_once('-')?;
        let level: i16 = level.parse().ok()?;
        Some(Self {
            kind: read(kind)?,
            version: version.parse().ok()?,
            priority: i8::try_from(level - 128).ok()?,
        })
    }

    /// Names have no room for a sign.
    fn level(&self) -> i16 {
        i16::from(self.priority) + 128
    }
}

/// A prefix that names of streams and subjects can begin with.
pub(crate) fn checked_prefix(prefix: &str) -> Result<(), EngineError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if prefix.is_empty() || !prefix.chars().all(plain) {
        return Err(EngineError::invalid(format!(
            "`{prefix}` cannot be a prefix of names in NATS: use letters, digits, `-` and `_`"
        )));
    }
    Ok(())
}

/// The key of a unique key.
pub(crate) fn unique(kind: &str, key: &str) -> Result<String, EngineError> {
    // A server takes lines of 4 KiB by default, with headers' names and more.
    const LONGEST: usize = 2048;
    let name = format!("{}.{}", written(kind), written(key));
    if name.len() > LONGEST {
        return Err(EngineError::invalid(format!(
            "the unique key of {} bytes is too long for a subject of NATS: use a digest of it",
            key.len()
        )));
    }
    Ok(name)
}

/// Writes a text as one token of a subject or as a part of a consumer's name: special and non-ASCII
/// characters become hexadecimal digits.
fn written(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    if text.is_empty() {
        // A token is never empty; no other text becomes the sign alone.
        name.push('=');
    }
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(name, "={byte:02X}");
        }
    }
    name
}

fn read(name: &str) -> Option<String> {
    if name == "=" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'=' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        rest = after;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_read_back() {
        for kind in ["", "a", "a.b", "=", "v1-p2-x", "Größe *>", "-", "a=2Eb"] {
            for (version, priority) in [(0, 0), (1, -128), (u32::MAX, 127)] {
                let lane = Lane {
                    kind: kind.to_owned(),
                    version,
                    priority,
                };
                let name = lane.consumer();
                assert!(!name.contains(['.', '*', '>', ' ', '/', '\\']), "{name}");
                assert_eq!(Lane::of_consumer(&name), Some(lane), "{name}");
            }
        }
    }

    #[test]
    fn names_of_others_are_not_lanes() {
        for name in [
            "",
            "v",
            "v1",
            "v1-p1",
            "v1-p999-a",
            "vx-p1-a",
            "x",
            "v1-p1-=4",
            "v1-p1-=FF",
        ] {
            assert_eq!(Lane::of_consumer(name), None, "{name}");
        }
    }

    #[test]
    fn names_differ_where_texts_do() {
        assert_ne!(unique("a", "b.c").unwrap(), unique("a.b", "c").unwrap());
        assert_ne!(unique("a", "").unwrap(), unique("a", "=").unwrap());
        assert!(unique("a", &"x".repeat(5000)).is_err());
    }
}
