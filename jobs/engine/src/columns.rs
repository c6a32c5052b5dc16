//! For engines on SQL: a [`Life`] as the columns of a row.
//!
//! The life is a text. Beside it are the columns that queries use. Some columns change with time
//! alone, so where column and text differ, the column counts.

use std::collections::BTreeMap;

use fourway_jobs::{JobId, JobState};

use crate::{EngineError, Fetch, Record, life::Life};

/// The life as it is written.
///
/// # Errors
///
/// None is known: a life has only numbers and texts.
pub fn text(life: &Life) -> Result<String, EngineError> {
    serde_json::to_string(life).map_err(EngineError::invalid)
}

/// The life of a row with that text, in the state of its column.
///
/// # Errors
///
/// [Invalid](crate::EngineErrorKind::Invalid) if the text is none, or there is no such state: a
/// newer program has written it.
pub fn life(text: &str, state: i64) -> Result<Life, EngineError> {
    let mut life: Life = serde_json::from_str(text).map_err(EngineError::invalid)?;
    life.record.state = self::state(state)?;
    Ok(life)
}

/// A row as a list shows it: an unreadable row does not hide other rows.
#[must_use]
pub fn shown(
    id: JobId,
    kind: &str,
    version: u32,
    state: i64,
    life: Result<Life, EngineError>,
) -> Record {
    match life {
        Ok(life) => life.record,
        Err(error) => Record::unreadable(id, kind, version, shown_state(state), &error),
    }
}

/// The state that lists and counts show for the number in a column. A job in a state that this
/// program does not know is shown as scheduled: it waits for a program that knows the state.
#[must_use]
pub fn shown_state(number: i64) -> JobState {
    state(number).unwrap_or(JobState::Scheduled)
}

/// The state whose number, `state as i64`, is in a column.
///
/// # Errors
///
/// [Invalid](crate::EngineErrorKind::Invalid) if there is none.
pub fn state(number: i64) -> Result<JobState, EngineError> {
    let known = usize::try_from(number)
        .ok()
        .and_then(|number| JobState::ALL.get(number).copied());
    known.ok_or_else(|| EngineError::invalid(format!("a row has an unknown state: {number}")))
}

/// The kinds of a fetch, each of them once: with the newest version, if it is named more than once.
/// A statement that looks for each of them finds a job once then.
pub fn kinds(fetch: &Fetch) -> impl Iterator<Item = (&str, u32)> {
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    for (kind, version) in &fetch.kinds {
        let known = kinds.entry(kind).or_default();
        *known = (*known).max(*version);
    }
    kinds.into_iter()
}

/// Milliseconds in a column of signed numbers. A value that is too large becomes the largest one,
/// which still means for ever.
#[must_use]
pub fn stored(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewJob;

    #[test]
    fn a_row_is_the_life_that_was_written() {
        let (mut life, _) = Life::begin(NewJob::new("kind", 1, ""), u64::MAX);
        let text = text(&life).unwrap();
        for known in JobState::ALL {
            life.record.state = known;
            assert_eq!(super::life(&text, known as i64).unwrap(), life);
        }
        assert!(super::life("{}", 0).is_err());
        let shown = |text: &str, state| {
            let id = life.record.id;
            super::shown(id, "kind", 1, state, super::life(text, state))
        };
        let failed = JobState::Failed;
        let (good, bad) = (shown(&text, failed as i64), shown("{}", failed as i64));
        assert_eq!((good.state, good.error), (failed, None));
        assert_eq!((bad.id, bad.kind, bad.state), (good.id, good.kind, failed));
        assert!(bad.error.unwrap().contains("cannot be read"));
        assert_eq!(shown(&text, 99).state, JobState::Scheduled);
        assert_eq!(shown_state(failed as i64), failed);
        assert!(state(-1).is_err());
        assert!(state(JobState::ALL.len() as i64).is_err());
        assert_eq!((stored(7), stored(u64::MAX)), (7, i64::MAX));
    }
}
