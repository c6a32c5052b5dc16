//! The times of a schedule on the wall: [`Times`].

use std::fmt;

use crate::clock::time;

const SECOND: u64 = 1_000_000_000;

/// When runs are due, in nanoseconds since 1970.
#[derive(Clone)]
pub(crate) enum Times {
    /// The multiples of a period.
    Every(u64),
    #[cfg(feature = "cron")]
    Cron(std::sync::Arc<cron::InZone>),
}

impl Times {
    /// The first one after that.
    pub(super) fn after(&self, after: u64) -> Option<u64> {
        match self {
            Self::Every(period) => (after / period).checked_add(1)?.checked_mul(*period),
            #[cfg(feature = "cron")]
            Self::Cron(cron) => cron.after(after),
        }
    }

    /// All in `(after, until]`, oldest first.
    pub(super) fn between(&self, after: u64, until: u64) -> impl Iterator<Item = u64> + '_ {
        let mut last = after;
        std::iter::from_fn(move || {
            last = self.after(last)?;
            (last <= until).then_some(last)
        })
    }

    /// The last ones in `(after, until]`, oldest first, at most so many.
    ///
    /// It searches forward, in windows that grow: an expression that names one time of day has one
    /// run in an hour that comes twice, and only a forward search respects that.
    pub(super) fn last_between(&self, after: u64, until: u64, at_most: usize) -> Vec<u64> {
        if at_most == 0 {
            return Vec::new();
        }
        let mut window = 60 * SECOND;
        loop {
            let from = until.saturating_sub(window).max(after);
            let mut found: Vec<_> = self.between(from, until).collect();
            if found.len() >= at_most || from == after {
                let surplus = found.len().saturating_sub(at_most);
                found.drain(..surplus);
                return found;
            }
            window = window.saturating_mul(4);
        }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(period) => {
                write!(f, "every {:?}", std::time::Duration::from_nanos(*period))
            }
            #[cfg(feature = "cron")]
            Self::Cron(cron) => cron.fmt(f),
        }
    }
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = self.after(0).map(time);
        write!(f, "Times({self}, from {next:?})")
    }
}

#[cfg(feature = "cron")]
pub(super) mod cron {
    use std::fmt;

    use croner::{
        Cron,
        parser::{CronParser, Seconds},
    };
    use jiff::{Timestamp, tz::TimeZone};

    use super::SECOND;
    use crate::schedule::{ParseScheduleError, error::Mistake};

    /// A cron expression, read by the clocks of a time zone.
    pub(crate) struct InZone {
        cron: Cron,
        zone: TimeZone,
        expression: String,
        zone_name: String,
    }

    impl InZone {
        pub(crate) fn parse(expression: &str, zone: &str) -> Result<Self, ParseScheduleError> {
            let mistake = |mistake| ParseScheduleError {
                expression: expression.to_owned(),
                mistake,
            };
            let cron = CronParser::builder()
                .seconds(Seconds::Optional)
                .build()
                .parse(expression)
                .map_err(|error| mistake(Mistake::Expression(error.to_string())))?;
            let zone_name = zone.to_owned();
            let zone =
                TimeZone::get(zone).map_err(|_| mistake(Mistake::TimeZone(zone_name.clone())))?;
            let parsed = Self {
                cron,
                zone,
                expression: expression.to_owned(),
                zone_name,
            };
            match parsed.after(0) {
                Some(_) => Ok(parsed),
                None => Err(mistake(Mistake::Never)),
            }
        }

        pub(super) fn after(&self, after: u64) -> Option<u64> {
            let second = i64::try_from(after / SECOND).ok()?;
            let after = Timestamp::from_second(second).ok()?;
            let after = after.to_zoned(self.zone.clone());
            let next = self.cron.find_next_occurrence(&after, false).ok()?;
            let next = u64::try_from(next.timestamp().as_second()).ok()?;
            next.checked_mul(SECOND)
        }
    }

    impl fmt::Display for InZone {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} in {}", self.expression, self.zone_name)
        }
    }
}
