//! Which runs are due at a given clock time: [`Plan`]. It knows no manager and is
//! tested by itself.

use super::{Missed, Schedule};

/// More missed runs than that are not counted one by one; and no more runs than that are started at
/// a time, be they late or made up for.
pub(super) const COUNTED: usize = 1000;

/// How far a schedule is.
pub(super) struct Plan {
    schedule: Schedule,
    /// Every run up to this time was dealt with. In nanoseconds since 1970, as all times here.
    until: u64,
    /// The first one after `until`.
    next: Option<u64>,
}

/// The due runs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// The times of the runs to start, and whether they were missed.
    pub(super) runs: Vec<(u64, bool)>,
    /// How many missed runs are not made up for.
    pub(super) skipped: u64,
}

impl Plan {
    /// Runs after `now`; or since another time, if the schedule says so.
    pub(super) fn new(schedule: Schedule, now: u64) -> Self {
        let until = schedule.since.map_or(now, |since| since.min(now));
        let next = schedule.times.after(until);
        Self {
            schedule,
            until,
            next,
        }
    }

    pub(super) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.next
    }

    /// How many missed runs are made up for, at most.
    pub(super) fn made_up(&self) -> usize {
        match self.schedule.missed {
            Missed::Skip => 0,
            Missed::Once => 1,
            Missed::Each { at_most } => at_most.min(COUNTED),
        }
    }

    /// Forgets about runs up to now.
    pub(super) fn skip(&mut self, now: u64) {
        if now > self.until {
            self.until = now;
            self.next = self.schedule.times.after(now);
        }
    }

    /// The runs that are due now.
    pub(super) fn look(&mut self, now: u64) -> Due {
        if now < self.until {
            // The clock was set back. The times that come again had their runs. But if the clock
            // goes back this far, it was wrong before, and the schedule follows the right time at
            // once.
            if self.until - now > self.schedule.set_back {
                self.until = now;
                self.next = self.schedule.times.after(now);
            }
            return Due::default();
        }
        let after = std::mem::replace(&mut self.until, now);
        if self.next.is_none_or(|next| next > now) {
            return Due::default();
        }
        let times = &self.schedule.times;
        self.next = times.after(now);
        // A run that is later than that was missed.
        let mut late = now.saturating_sub(self.schedule.tolerance).max(after);
        // However late a run may be: there is no list of all the seconds since 1970.
        let on_time = times.last_between(late, now, COUNTED);
        if let Some(first) = on_time.first().filter(|_| on_time.len() == COUNTED) {
            late = first - 1;
        }
        let mut due = Due::default();
        let wanted = self.made_up();
        let missed = times.between(after, late).take(COUNTED).count();
        if missed > 0 {
            let made_up = times.last_between(after, late, wanted);
            due.skipped = missed.saturating_sub(made_up.len()) as u64;
            due.runs.extend(made_up.into_iter().map(|at| (at, true)));
        }
        due.runs.extend(on_time.into_iter().map(|at| (at, false)));
        due
    }
}
