//! Due runs when the clock goes on, jumps and comes back, without a manager and threads.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::{
    Missed, Schedule,
    plan::{Due, Plan},
};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// Some Sunday, at midnight, UTC.
const START: u64 = 1_795_910_400 * SECOND;

fn each_minute() -> Schedule {
    Schedule::every(Duration::from_secs(60))
}

fn runs(due: Due) -> Vec<(u64, bool)> {
    due.runs
}

#[test]
fn each_run_is_due_once_and_on_time() {
    let mut plan = Plan::new(each_minute(), START);
    assert_eq!(plan.next(), Some(START + MINUTE));
    let mut found = Vec::new();
    for step in 1..=600 {
        found.extend(runs(plan.look(START + step * SECOND / 2)));
    }
    let expected: Vec<_> = (1..=5).map(|n| (START + n * MINUTE, false)).collect();
    assert_eq!(found, expected);
}

#[test]
fn missed_runs_are_made_up_for_as_the_schedule_says() {
    let after_an_hour = |missed| {
        let mut plan = Plan::new(each_minute().missed(missed), START);
        plan.look(START + HOUR)
    };
    let on_time = (START + HOUR, false);
    let minute = |n| START + n * MINUTE;
    let due = after_an_hour(Missed::Skip);
    assert_eq!((due.runs, due.skipped), (vec![on_time], 59));
    let due = after_an_hour(Missed::Once);
    assert_eq!(due.runs, [(minute(59), true), on_time]);
    assert_eq!(due.skipped, 58);
    let due = after_an_hour(Missed::Each { at_most: 3 });
    assert_eq!(
        due.runs,
        [
            (minute(57), true),
            (minute(58), true),
            (minute(59), true),
            on_time
        ]
    );
    let due = after_an_hour(Missed::Each { at_most: 1000 });
    assert_eq!((due.runs.len(), due.skipped), (60, 0));
}

#[test]
fn a_clock_that_was_set_back_repeats_no_run() {
    let mut plan = Plan::new(each_minute(), START);
    assert_eq!(runs(plan.look(START + HOUR)).len(), 2);
    for minutes in 0..=60 {
        assert_eq!(plan.look(START + minutes * MINUTE), Due::default());
    }
    assert_eq!(
        runs(plan.look(START + 61 * MINUTE)),
        [(START + 61 * MINUTE, false)]
    );
}

#[test]
fn a_clock_that_was_wrong_and_is_right_now_is_followed() {
    let mut plan = Plan::new(each_minute(), START);
    assert_eq!(runs(plan.look(START + 1000 * HOUR)).len(), 2);
    assert_eq!(plan.look(START + 30 * SECOND), Due::default());
    assert_eq!(runs(plan.look(START + MINUTE)), [(START + MINUTE, false)]);
}

#[test]
fn runs_since_an_earlier_time_were_missed() {
    let since = crate::clock::time(START - HOUR);
    let mut plan = Plan::new(each_minute().since(since), START);
    let due = plan.look(START + SECOND);
    assert_eq!(due.runs, [(START - MINUTE, true), (START, false)]);
    assert_eq!(due.skipped, 58);
}

#[test]
fn a_leap_of_years_takes_no_time() {
    let daily = Schedule::every(Duration::from_secs(1)).missed(Missed::Each { at_most: 5 });
    let mut plan = Plan::new(daily.tolerance(Duration::from_secs(2)), 0);
    let due = plan.look(START);
    let last = START / SECOND;
    let expected: Vec<_> = (last - 6..=last)
        .map(|n| (n * SECOND, n < last - 1))
        .collect();
    assert_eq!(due.runs, expected);
    assert_eq!(due.skipped, 995, "a thousand are counted");
}

#[test]
fn a_tolerance_without_limit_makes_no_list_without_limit() {
    let tolerant = |missed| {
        let each_second = Schedule::every(Duration::from_secs(1));
        let schedule = each_second.tolerance(Duration::MAX).missed(missed);
        Plan::new(schedule, 0).look(START)
    };
    let due = tolerant(Missed::Skip);
    let last = START / SECOND;
    let expected: Vec<_> = (last - 999..=last).map(|n| (n * SECOND, false)).collect();
    assert_eq!(due.runs, expected);
    assert_eq!(due.skipped, 1000, "a thousand are counted");
    // The others were missed as any.
    let due = tolerant(Missed::Once);
    assert_eq!(due.runs[0], ((last - 1000) * SECOND, true));
    assert_eq!((due.runs.len(), due.skipped), (1001, 999));
}

proptest! {
    /// Whatever the clock does, no time has two runs, unless the clock was set back by more than is
    /// allowed. If the clock only goes forward, each time has its run or is counted.
    #[test]
    fn no_run_is_skipped_or_doubled(
        period in 1_u64..300,
        steps in prop::collection::vec(prop_oneof![
            8 => 1_i64..2_000,
            1 => 2_000_i64..4_000_000,
            2 => -3_000_000_i64..0,
        ], 1..200),
        policy in 0..3,
    ) {
        let missed = match policy {
            0 => Missed::Skip,
            1 => Missed::Once,
            _ => Missed::Each { at_most: 1000 },
        };
        let millis = 1_000_000;
        let schedule = Schedule::every(Duration::from_secs(period)).missed(missed);
        let mut plan = Plan::new(schedule, START);
        let (mut now, mut latest) = (START, START);
        let mut seen = BTreeSet::new();
        let mut counted = 0;
        for step in steps {
            // Within what is allowed, so that nothing is repeated.
            now = now.saturating_add_signed(step * millis).max(latest - 2 * HOUR);
            latest = latest.max(now);
            let due = plan.look(now);
            prop_assert!(due.runs.is_sorted());
            for (at, is_missed) in due.runs {
                prop_assert!(seen.insert(at), "{at} twice");
                prop_assert!(at <= now && at > START && at % (period * SECOND) == 0);
                prop_assert_eq!(is_missed, now - at >= 30 * SECOND);
            }
            counted += due.skipped;
            let all = latest / (period * SECOND) - START / (period * SECOND);
            // A jump is at most 4,000 seconds: more than a thousand runs only if each is a
            // second, which are counted as a thousand.
            if period >= 5 {
                prop_assert_eq!(seen.len() as u64 + counted, all);
            }
            if policy == 2 && period >= 5 {
                prop_assert_eq!(counted, 0);
            }
        }
    }
}

#[cfg(feature = "cron")]
mod cron {
    use super::*;

    fn utc(time: &str) -> u64 {
        let time: jiff::Timestamp = time.parse().expect("a time");
        u64::try_from(time.as_second()).expect("after 1970") * SECOND
    }

    /// The runs of an expression in a range of time, looked for every half a second, and those
    /// found by one look at the end.
    fn in_berlin(expression: &str, from: &str, to: &str) -> Vec<String> {
        let schedule = Schedule::cron(expression, "Europe/Berlin")
            .expect("an expression")
            .missed(Missed::Each { at_most: 1000 });
        let (from, to) = (utc(from), utc(to));
        let mut steps = Plan::new(schedule.clone(), from);
        let mut found = Vec::new();
        let mut now = from;
        while now < to {
            now += SECOND / 2;
            found.extend(runs(steps.look(now)).into_iter().map(|(at, _)| at));
        }
        let at_once = runs(Plan::new(schedule, from).look(to));
        assert!(at_once.iter().map(|(at, _)| at).eq(&found));
        let print = |at: &u64| {
            let time = jiff::Timestamp::from_second((at / SECOND) as i64).expect("a time");
            time.to_string()
        };
        found.iter().map(print).collect()
    }

    #[test]
    fn a_time_that_does_not_exist_runs_after_the_gap() {
        // At two it is three.
        let night = ("2026-03-28T23:00:00Z", "2026-03-29T04:00:00Z");
        let found = in_berlin("30 2 * * *", night.0, night.1);
        assert_eq!(found, ["2026-03-29T01:00:00Z"]);
        let found = in_berlin("30 * * * *", night.0, night.1);
        assert_eq!(
            found,
            [
                "2026-03-28T23:30:00Z",
                "2026-03-29T00:30:00Z",
                "2026-03-29T01:30:00Z",
                "2026-03-29T02:30:00Z",
                "2026-03-29T03:30:00Z"
            ]
        );
    }

    #[test]
    fn a_time_that_comes_twice_runs_once() {
        // At three it is two.
        let night = ("2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z");
        let found = in_berlin("30 2 * * *", night.0, night.1);
        assert_eq!(found, ["2026-10-25T00:30:00Z"]);
        let found = in_berlin("30 * * * *", night.0, night.1);
        assert_eq!(
            found,
            [
                "2026-10-24T23:30:00Z",
                "2026-10-25T00:30:00Z",
                "2026-10-25T01:30:00Z",
                "2026-10-25T02:30:00Z"
            ]
        );
    }

    #[test]
    fn lists_and_ranges_of_times_run_once_each() {
        let spring = ("2026-03-28T23:00:00Z", "2026-03-29T03:30:00Z");
        let autumn = ("2026-10-24T21:30:00Z", "2026-10-25T03:30:00Z");
        let runs = |expression, night: (&str, &str)| {
            let found = in_berlin(expression, night.0, night.1);
            let time = |found: &String| found[11..19].to_owned();
            found.iter().map(time).collect::<Vec<_>>()
        };
        // At two it is three, and that is at one in UTC.
        assert_eq!(runs("30 2,14 * * *", spring), ["01:00:00"]);
        assert_eq!(runs("15,45 2 * * *", spring), ["01:00:00"]);
        assert_eq!(
            runs("0 1-5 * * *", spring),
            ["00:00:00", "01:00:00", "02:00:00", "03:00:00"]
        );
        assert_eq!(
            runs("20,40 30-31 1-2,4 * * *", spring),
            [
                "00:30:20", "00:30:40", "00:31:20", "00:31:40", "01:00:00", "02:30:20", "02:30:40",
                "02:31:20", "02:31:40"
            ]
        );
        // At three it is two, and that is at one in UTC.
        assert_eq!(runs("30 2,14 * * *", autumn), ["00:30:00"]);
        assert_eq!(runs("15,45 2 * * *", autumn), ["00:15:00", "00:45:00"]);
        assert_eq!(
            runs("0 1-4 * * *", autumn),
            ["23:00:00", "00:00:00", "02:00:00", "03:00:00"]
        );
        assert_eq!(
            runs("20,40 30-31 2-3 * * *", autumn),
            [
                "00:30:20", "00:30:40", "00:31:20", "00:31:40", "02:30:20", "02:30:40", "02:31:20",
                "02:31:40"
            ]
        );
        // These go by elapsed time.
        assert_eq!(
            runs("30 0-4/1 * * *", autumn),
            [
                "22:30:00", "23:30:00", "00:30:00", "01:30:00", "02:30:00", "03:30:00"
            ]
        );
        assert_eq!(
            runs("0,30 * * * *", ("2026-10-24T23:45:00Z", autumn.1)),
            [
                "00:00:00", "00:30:00", "01:00:00", "01:30:00", "02:00:00", "02:30:00", "03:00:00",
                "03:30:00"
            ]
        );
    }

    /// The moments of the times of these days, looked for on a clock second by second.
    fn moments(
        zone: &jiff::tz::TimeZone,
        days: &[jiff::civil::Date],
        [hours, minutes, seconds]: &[BTreeSet<i8>; 3],
    ) -> BTreeSet<u64> {
        let first = |clock| {
            zone.to_ambiguous_timestamp(clock)
                .earlier()
                .expect("a time")
        };
        let mut moments = BTreeSet::new();
        for day in days {
            for (hour, minute) in hours
                .iter()
                .flat_map(|h| minutes.iter().map(move |m| (h, m)))
            {
                for second in seconds {
                    let mut clock = day.at(*hour, *minute, *second, 0);
                    while zone.to_datetime(first(clock)) != clock {
                        clock += jiff::Span::new().seconds(1);
                    }
                    let second = u64::try_from(first(clock).as_second()).expect("after 1970");
                    moments.insert(second * SECOND);
                }
            }
        }
        moments
    }

    proptest! {
        #[test]
        fn named_times_run_as_a_clock_shows_them_first(
            hours in prop::collection::btree_set(0_i8..24, 1..5),
            minutes in prop::collection::btree_set(0_i8..60, 1..4),
            seconds in prop::collection::btree_set(0_i8..60, 1..3),
            (zone, day) in prop::sample::select(vec![
                ("Europe/Berlin", "2026-03-29"),
                ("Europe/Berlin", "2026-10-25"),
                ("America/New_York", "2026-03-08"),
                ("America/New_York", "2026-11-01"),
                // By half an hour.
                ("Australia/Lord_Howe", "2026-04-05"),
                ("Australia/Lord_Howe", "2026-10-04"),
                // At midnight.
                ("America/Santiago", "2026-04-05"),
                ("America/Santiago", "2026-09-06"),
                ("Asia/Beirut", "2026-03-29"),
                ("UTC", "2026-03-29"),
            ]),
        ) {
            let text = |values: &BTreeSet<i8>| {
                let values: Vec<_> = values.iter().map(ToString::to_string).collect();
                values.join(",")
            };
            let expression =
                format!("{} {} {} * * *", text(&seconds), text(&minutes), text(&hours));
            let times = Schedule::cron(&expression, zone).expect("an expression").times;
            let zone = jiff::tz::TimeZone::get(zone).expect("a zone");
            let day: jiff::civil::Date = day.parse().expect("a day");
            let days = [day.yesterday().unwrap(), day, day.tomorrow().unwrap()];
            let wanted = moments(&zone, &days, &[hours, minutes, seconds]);
            let last = *wanted.last().expect("a time");
            let first = *wanted.first().expect("a time");
            let found: BTreeSet<_> = times.between(first - SECOND, last).collect();
            prop_assert_eq!(&found, &wanted, "{}", expression);
            // From whatever moment it looks, also within an hour that comes twice.
            for at in (first..last).step_by(usize::try_from(601 * SECOND).unwrap()) {
                let next = wanted.range(at + 1..).next().copied();
                prop_assert_eq!(times.after(at), next, "{} after {}", expression, at);
            }
        }
    }

    #[test]
    fn texts_that_are_no_schedule_are_told_apart() {
        let error = |expression, zone| Schedule::cron(expression, zone).expect_err("not one");
        let fields = error("* * *", "UTC");
        assert!(fields.to_string().contains("has five fields"), "{fields}");
        for (expression, fields) in [("", 0), ("* * *", 3), ("* * * * * * 2030", 7)] {
            let error = error(expression, "UTC").to_string();
            let said = format!("the number of its fields is {fields}. An");
            assert!(error.contains(&said), "{error}");
        }
        let nickname = error("@reboot", "UTC").to_string();
        assert!(nickname.contains("`@midnight`"), "{nickname}");
        let value = error("61 * * * *", "UTC").to_string();
        assert!(!value.contains(".."), "{value}");
        assert!(error("* * * * *", "Europe/Atlantis").is_time_zone());
        assert!(error("0 0 30 2 *", "UTC").is_never());
        assert!(!fields.is_never() && !fields.is_time_zone());
    }

    #[test]
    fn a_step_of_days_is_a_star_to_cron() {
        let days = |expression| {
            let schedule = Schedule::cron(expression, "UTC").expect("an expression");
            let mut next = utc("2026-11-30T00:00:00Z");
            let days = std::iter::from_fn(move || {
                next = schedule.times.after(next)?;
                let time = jiff::Timestamp::from_second((next / SECOND) as i64).expect("a time");
                Some(time.to_string()[..10].to_owned())
            });
            days.take(3).collect::<Vec<_>>()
        };
        // Mondays in December are the 7th, 14th, 21st and 28th.
        let odd_mondays = ["2026-12-07", "2026-12-21", "2027-01-11"];
        assert_eq!(days("0 0 */2 * MON"), odd_mondays);
        assert_eq!(days("0 0 0 */2 * MON"), odd_mondays);
        // The 1st and 15th on a Sunday, Tuesday, Thursday or Saturday.
        let both = ["2026-12-01", "2026-12-15", "2027-04-01"];
        assert_eq!(days("0 0 1,15 * */2"), both);
        // Either: the 13th, and each Friday.
        let either = ["2026-12-04", "2026-12-11", "2026-12-13"];
        assert_eq!(days("0 0 13 * FRI"), either);
        let mondays = ["2026-12-07", "2026-12-14", "2026-12-21"];
        assert_eq!(days("0 0 * * MON"), mondays);
        assert_eq!(days("0 0 ? * MON"), mondays);
        assert_eq!(
            days("0 0 5 * *"),
            ["2026-12-05", "2027-01-05", "2027-02-05"]
        );
    }

    #[test]
    fn expressions_with_seconds_and_nicknames() {
        let next = |expression| {
            let schedule = Schedule::cron(expression, "UTC").expect("an expression");
            let next = schedule.next_after(crate::clock::time(START));
            crate::clock::wall(next.expect("there is one"))
        };
        assert_eq!(next("*/5 * * * * *"), START + 5 * SECOND);
        assert_eq!(next("@hourly"), START + HOUR);
        assert_eq!(next(" @Midnight"), START + 24 * HOUR);
        assert_eq!(next("@midnight"), next("@daily"));
        assert_eq!(next("0 12 * * MON"), START + 36 * HOUR);
    }
}
