//! Recurring work: [`Timetable`].

use std::{
    str::FromStr,
    time::{Duration, SystemTime},
};

use fourway_core::Runtime;
use fourway_jobs::{JobManager, ParseScheduleError, Schedule, ScheduleError};
use fourway_jobs_engine::{JobClient, KindSchedule, KindSchedules};

use crate::{
    kinds,
    task::{Submission, Work},
    work::Toolbox,
};

/// How far a process looks back for runs that no process could submit, for jobs that a store keeps.
const LOOKS_BACK: Duration = Duration::from_secs(24 * 3600);

/// A cron expression and its work: `30 3 * * MON-FRI pack=docs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    expression: String,
    work: Work,
}

/// All recurring work, by the clocks of one time zone.
#[derive(Clone, Debug, Default)]
pub struct Timetable(Vec<(Timed, Schedule)>);

/// A timetable whose jobs a store keeps; it lives as long as its handles.
#[derive(Clone, Debug)]
pub struct KeptTimetable {
    schedules: KindSchedules,
    /// In the order of the command line.
    pub(crate) all: Vec<KindSchedule>,
}

impl Timed {
    /// Its name: the same in each process, so that processes that share a store submit
    /// each run once.
    fn name(&self) -> String {
        format!("{} {}", self.expression, self.submission().display_name())
    }

    fn submission(&self) -> Submission {
        Submission::new(self.work.clone())
    }
}

impl FromStr for Timed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((expression, work)) = text.trim().rsplit_once(char::is_whitespace) else {
            return Err("give when and what: `30 3 * * MON-FRI pack=docs`".into());
        };
        let timed = Self {
            expression: expression.trim().to_owned(),
            work: work.parse()?,
        };
        timed.submission().check()?;
        Timetable::new([timed.clone()], "UTC").map_err(|error| error.to_string())?;
        Ok(timed)
    }
}

impl Timetable {
    /// By the clocks of that time zone, such as `Europe/Berlin`.
    ///
    /// # Errors
    ///
    /// If there is no such zone.
    pub fn new(
        all: impl IntoIterator<Item = Timed>,
        time_zone: &str,
    ) -> Result<Self, ParseScheduleError> {
        let scheduled = all.into_iter().map(|timed| {
            let schedule = Schedule::cron(&timed.expression, time_zone)?;
            Ok((timed, schedule))
        });
        scheduled.collect::<Result<_, _>>().map(Self)
    }

    /// Runs it by a manager in memory, as long as that lives.
    ///
    /// # Errors
    ///
    /// If two of its lines are the same.
    pub(crate) fn here<R: Runtime>(
        &self,
        jobs: &JobManager,
        toolbox: &Toolbox<R>,
    ) -> Result<(), ScheduleError> {
        for (timed, schedule) in &self.0 {
            let (name, submission) = (timed.name(), timed.submission());
            submission.schedule(&name, schedule.clone(), jobs, toolbox)?;
        }
        Ok(())
    }

    /// Submits the jobs to a store, which takes each run once, from the first process. If no
    /// process was there, the last run of the past day is made up for.
    ///
    /// # Errors
    ///
    /// If two of its lines are the same.
    pub(crate) fn kept(&self, client: &JobClient) -> Result<KeptTimetable, ScheduleError> {
        let schedules = KindSchedules::new(client);
        let since = SystemTime::now() - LOOKS_BACK;
        let scheduled = self.0.iter().map(|(timed, schedule)| {
            let schedule = schedule.clone().since(since);
            kinds::schedule(&timed.name(), schedule, &schedules, timed.submission())
        });
        let all = scheduled.collect::<Result<_, _>>()?;
        Ok(KeptTimetable { schedules, all })
    }
}

impl KeptTimetable {
    /// Submits no more runs.
    pub(crate) async fn close(&self) {
        self.schedules.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_and_what_are_told_apart() {
        let timed: Timed = "30 3 * * MON-FRI pack=docs".parse().unwrap();
        assert_eq!(timed.expression, "30 3 * * MON-FRI");
        assert_eq!(timed.work, "pack=docs".parse().unwrap());
        assert_eq!(timed.name(), "30 3 * * MON-FRI pack docs");
        assert!(Timetable::new([timed.clone()], "Europe/Berlin").is_ok());
        assert!(Timetable::new([timed], "Europe/Atlantis").is_err());
        assert!("@daily search=1000".parse::<Timed>().is_ok());
        for wrong in [
            "",
            "pack=docs",
            "* * * * pack=docs",
            "@daily sing=x",
            "@daily pack=/etc",
        ] {
            assert!(wrong.parse::<Timed>().is_err(), "{wrong}");
        }
    }
}
