//! The errors of schedules: [`ParseScheduleError`], [`ScheduleError`].

use std::{error::Error, fmt};

/// The text is not a schedule.
#[cfg(feature = "cron")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseScheduleError {
    pub(super) expression: String,
    pub(super) mistake: Mistake,
}

#[cfg(feature = "cron")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    Expression(String),
    /// It has so many fields.
    Fields(usize),
    Nickname,
    TimeZone(String),
    Never,
}

#[cfg(feature = "cron")]
impl ParseScheduleError {
    /// The expression is right, and the time zone is not known.
    #[must_use]
    pub fn is_time_zone(&self) -> bool {
        matches!(self.mistake, Mistake::TimeZone(_))
    }

    /// It would never run: there is no 30th of February.
    #[must_use]
    pub fn is_never(&self) -> bool {
        self.mistake == Mistake::Never
    }
}

#[cfg(feature = "cron")]
const FIELDS: &str = "An expression has five fields, minute, hour, day of the month, month and day of \
                      the week, or six, with the second first";

#[cfg(feature = "cron")]
impl fmt::Display for ParseScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            expression,
            mistake,
        } = self;
        match mistake {
            Mistake::Expression(message) => write!(
                f,
                "`{expression}` is not a cron expression: {}. {FIELDS}",
                message.trim_end_matches('.')
            ),
            Mistake::Fields(fields) => write!(
                f,
                "`{expression}` is not a cron expression: the number of its fields is {fields}. {FIELDS}"
            ),
            Mistake::Nickname => write!(
                f,
                "`{expression}` is no nickname of a cron expression: there are `@yearly`, \
                 `@annually`, `@monthly`, `@weekly`, `@daily`, `@midnight` and `@hourly`"
            ),
            Mistake::TimeZone(zone) => write!(
                f,
                "`{zone}` is not a time zone: give one of the IANA database, such as \
                 `Europe/Berlin` or `UTC`"
            ),
            Mistake::Never => write!(f, "`{expression}` never comes: there is no such day"),
        }
    }
}

#[cfg(feature = "cron")]
impl Error for ParseScheduleError {}

/// Why nothing was scheduled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleError {
    pub(super) name: String,
    pub(super) refusal: Refusal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NameTaken,
    Closed,
    /// The manager is that of a forked child's parent.
    Forked,
}

impl ScheduleError {
    /// There is a schedule of that name.
    #[must_use]
    pub fn is_name_taken(&self) -> bool {
        self.refusal == Refusal::NameTaken
    }

    /// The manager accepts no more jobs; or it [is forked](Self::is_forked).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.refusal, Refusal::Closed | Refusal::Forked)
    }

    /// This is a forked child, and the manager is that of a parent process ([forked
    /// children](fourway_core::contract#FK-1)).
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.refusal == Refusal::Forked
    }
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refusal {
            Refusal::NameTaken => write!(
                f,
                "there is a schedule `{}` already: remove that first, or give this one another name",
                self.name
            ),
            Refusal::Forked => write!(f, "nothing was scheduled: {}", crate::error::FORKED),
            Refusal::Closed => f.write_str("the job manager accepts no more jobs"),
        }
    }
}

impl Error for ScheduleError {}
