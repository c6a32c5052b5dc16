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
    use jiff::{
        Timestamp,
        civil::DateTime,
        tz::{AmbiguousOffset, TimeZone},
    };

    use super::SECOND;
    use crate::schedule::{ParseScheduleError, error::Mistake};

    /// A cron expression, read by the clocks of a time zone.
    pub(crate) struct InZone {
        cron: Cron,
        /// It names times of day, and does not go by elapsed time.
        names_times: bool,
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
            let text = spelled_out(expression).map_err(mistake)?;
            let cron = CronParser::builder()
                .seconds(Seconds::Optional)
                .dom_and_dow(has_star_of_days(text))
                .build()
                .parse(text)
                .map_err(|error| mistake(Mistake::Expression(error.to_string())))?;
            let zone_name = zone.to_owned();
            let zone =
                TimeZone::get(zone).map_err(|_| mistake(Mistake::TimeZone(zone_name.clone())))?;
            let parsed = Self {
                names_times: names_times(&cron, text),
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
            let next = if self.names_times {
                self.named_after(after)?
            } else {
                let after = after.to_zoned(self.zone.clone());
                let next = self.cron.find_next_occurrence(&after, false).ok()?;
                next.timestamp()
            };
            let next = u64::try_from(next.as_second()).ok()?;
            next.checked_mul(SECOND)
        }

        /// The first named time after that.
        ///
        /// `croner` counts an expression as one of named times only if it names a single one: it
        /// runs the times of a list or a range twice when summer time ends, and not at all when it
        /// begins. So it looks for the times on a clock without summer time, and this finds their
        /// moments.
        fn named_after(&self, after: Timestamp) -> Option<Timestamp> {
            let mut clock = self.shown_last(after)?;
            loop {
                let from = clock.to_zoned(TimeZone::UTC).ok()?;
                clock = self
                    .cron
                    .find_next_occurrence(&from, false)
                    .ok()?
                    .datetime();
                let moment = self.moment_of(clock)?;
                if moment > after {
                    return Some(moment);
                }
            }
        }

        /// The latest time that the clocks have shown at a moment or before, for the first time.
        fn shown_last(&self, moment: Timestamp) -> Option<DateTime> {
            let clock = self.zone.to_datetime(moment);
            let AmbiguousOffset::Fold { before, after } =
                self.zone.to_ambiguous_timestamp(clock).offset()
            else {
                return Some(clock);
            };
            if self.zone.to_offset(moment) != after {
                return Some(clock);
            }
            // It is shown for the second time, and so is each until the one at which the clocks
            // were set back. The search begins there, and does not go through all of these.
            let next_second = moment.checked_add(jiff::Span::new().seconds(1)).ok()?;
            let set_back = self.zone.preceding(next_second).next()?.timestamp();
            let end = before.to_datetime(set_back);
            end.checked_sub(jiff::Span::new().seconds(1)).ok()
        }

        /// When the clocks show that time, for the first time; or the end of the gap that it is in.
        fn moment_of(&self, clock: DateTime) -> Option<Timestamp> {
            match self.zone.to_ambiguous_timestamp(clock).offset() {
                AmbiguousOffset::Unambiguous { offset: first }
                | AmbiguousOffset::Fold { before: first, .. } => first.to_timestamp(clock).ok(),
                AmbiguousOffset::Gap { after, .. } => {
                    // With the offset after the gap it is a moment before the gap.
                    let earlier = after.to_timestamp(clock).ok()?;
                    Some(self.zone.following(earlier).next()?.timestamp())
                }
            }
        }
    }

    /// The expression in fields, of which there are as many as there may be.
    fn spelled_out(expression: &str) -> Result<&str, Mistake> {
        let trimmed = expression.trim();
        if trimmed.starts_with('@') {
            // Here and not by `croner`, which does not know all of them, and says of others that
            // they have too few fields.
            return match trimmed.to_ascii_lowercase().as_str() {
                "@yearly" | "@annually" => Ok("0 0 1 1 *"),
                "@monthly" => Ok("0 0 1 * *"),
                "@weekly" => Ok("0 0 * * SUN"),
                "@daily" | "@midnight" => Ok("0 0 * * *"),
                "@hourly" => Ok("0 * * * *"),
                _ => Err(Mistake::Nickname),
            };
        }
        match expression.split_whitespace().count() {
            5 | 6 => Ok(expression),
            fields => Err(Mistake::Fields(fields)),
        }
    }

    /// Whether one of the two fields of days begins with a `*`. To cron that is a star, also if a
    /// step follows: a day must be of both fields. Without one it may be of either.
    fn has_star_of_days(expression: &str) -> bool {
        let last: Vec<_> = expression.split_whitespace().rev().take(3).collect();
        let is_star =
            |field: Option<&&str>| field.is_some_and(|field| field.starts_with(['*', '?']));
        is_star(last.first()) || is_star(last.get(2))
    }

    /// Whether there is neither a `*` nor a step among hours, minutes and seconds.
    fn names_times(cron: &Cron, expression: &str) -> bool {
        let fields: Vec<_> = expression.split_whitespace().collect();
        // Those before the day of the month.
        let of_time = fields.len() - 3;
        let has_step = fields.iter().take(of_time).any(|field| field.contains('/'));
        let pattern = &cron.pattern;
        let of_time = [&pattern.hours, &pattern.minutes, &pattern.seconds];
        !has_step && of_time.iter().all(|field| !field.from_wildcard)
    }

    impl fmt::Display for InZone {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} in {}", self.expression, self.zone_name)
        }
    }
}
