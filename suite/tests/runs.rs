//! The results of each kind of case, and the formats of reports.

use std::{
    sync::{Mutex, mpsc},
    time::Duration,
};

use fourway_suite::{Case, Report, Status, Subject, Suite};

/// Far more than any case needs; only a failing test reaches it.
const AGES: Duration = Duration::from_secs(60);

fn passes(id: &'static str) -> Case {
    Case::new(id, "it passes", || ())
}

fn fails(id: &'static str) -> Case {
    // Without the panic hook, whose text is not wanted here.
    Case::new(id, "it fails", || {
        std::panic::resume_unwind(Box::new("broken"))
    })
}

/// Its statuses and messages, one after the other.
fn run(subject: Subject) -> Vec<(Status, Option<String>)> {
    let report = Suite::new([subject]).run();
    let cases = report.subjects.into_iter().flat_map(|one| one.cases);
    cases.map(|case| (case.status, case.message)).collect()
}

#[test]
fn cases_pass_and_fail() {
    let texts = Case::new("AA-1.3", "a text that was made", || {
        std::panic::resume_unwind(Box::new(String::from("made")))
    });
    let other = Case::new("AA-1.4", "no text", || {
        std::panic::resume_unwind(Box::new(7))
    });
    let unsupported = fails("AA-1.5").unsupported(Some(String::from("it lacks what it needs")));
    let found = run(Subject::new("one", AGES).cases([
        passes("AA-1.1"),
        fails("AA-1.2"),
        texts,
        other,
        unsupported,
    ]));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        found,
        [
            (Status::Pass, None),
            (Status::Fail, text("broken")),
            (Status::Fail, text("made")),
            (
                Status::Fail,
                text("it panicked with a payload that is not a string")
            ),
            (Status::Unsupported, text("it lacks what it needs")),
        ]
    );
}

#[test]
fn a_turn_does_not_count_and_lasts_as_long_as_the_case() {
    struct Ends(mpsc::Sender<&'static str>);

    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.0.send("turn");
        }
    }

    /// Long, because on a busy machine a thread may start late.
    const DEADLINE: Duration = Duration::from_secs(3);

    let (tell, told) = mpsc::channel();
    let (done, hangs) = mpsc::channel::<()>();
    let (first, hangs) = (Mutex::new(Some(tell.clone())), Mutex::new(hangs));
    let waits = passes("AA-1.1").turn(move || std::thread::sleep(DEADLINE + DEADLINE / 2));
    let refused = passes("AA-1.2").turn(|| {
        std::panic::resume_unwind(Box::new("no turn"));
    });
    let hung = Case::new("AA-1.3", "it hangs", move || {
        let _ = hangs.lock().unwrap().recv_timeout(AGES);
        let _ = tell.send("case");
    })
    .turn(move || Ends(first.lock().unwrap().take().expect("it runs once")));
    let mut found = run(Subject::new("one", DEADLINE).cases([waits, refused]));
    assert_eq!(found[0], (Status::Pass, None));
    assert_eq!(found[1], (Status::Fail, Some("no turn".to_owned())));
    // Its deadline may be short: it is to be exceeded.
    found = run(Subject::new("one", Duration::from_millis(200)).cases([hung]));
    assert_eq!(found[0].0, Status::Timeout);
    assert!(told.try_recv().is_err(), "the turn ended before the case");
    drop(done);
    let order = [told.recv_timeout(AGES), told.recv_timeout(AGES)];
    assert_eq!(order, [Ok("case"), Ok("turn")]);
}

#[test]
fn known_failures_have_to_fail() {
    let subject = Subject::new("one", AGES)
        .known_failures([("AA-1.1", "for once"), ("AA-1.2", "see the README")])
        .cases([passes("AA-1.1"), fails("AA-1.2")]);
    let found = run(subject);
    assert_eq!(found[0].0, Status::UnexpectedPass);
    assert!(found[0].0.is_failure());
    assert_eq!(
        found[1],
        (Status::KnownFail, Some("see the README".to_owned()))
    );
    assert!(!found[1].0.is_failure());
}

/// The other cases go on, and its thread is left alone.
#[test]
fn a_case_that_hangs_is_noticed() {
    let (release, hangs) = mpsc::channel::<()>();
    let hangs = std::sync::Mutex::new(hangs);
    let hanging = Case::new("AA-1.1", "it hangs", move || {
        let _ = hangs.lock().unwrap().recv();
    });
    let limit = Duration::from_millis(20);
    let found = run(Subject::new("one", limit).cases([hanging]));
    assert_eq!(
        found,
        [(Status::Timeout, Some("it hung for 20ms".to_owned()))]
    );
    drop(release);
}

fn two() -> Report {
    let known = [("AA-1.2", "see the README")];
    let first = Subject::new("first", AGES)
        .capabilities(["durable"])
        .cases([passes("AA-1.1"), passes("AA-1.2")]);
    let second = Subject::new("second", AGES)
        .capabilities(["delay", "durable"])
        .known_failures(known)
        .cases([passes("AA-1.1"), fails("AA-1.2")]);
    Suite::new([first, second]).run()
}

#[test]
fn tables() {
    let report = two();
    let cases = "| case | first | second |\n| --- | :-: | :-: |\n\
                 | AA-1.1 it passes | ✓ | ✓ |\n| AA-1.2 it passes | ✓ | ! |\n";
    assert_eq!(report.to_markdown(&[]), cases);
    let capabilities = "| capability | first | second |\n| --- | :-: | :-: |\n\
                        | durable | ✓ | ✓ |\n| delay | – | ✓ |\n| priority | – | – |\n\n";
    assert_eq!(
        report.to_markdown(&["durable", "delay", "priority"]),
        capabilities.to_owned() + cases
    );
    assert_eq!(Suite::new([]).run().to_markdown(&[]), "| case |\n| --- |\n");
}

#[test]
fn junit() {
    let text = two().to_junit("a test").unwrap();
    assert!(
        text.contains("<testsuites name=\"a test\" tests=\"4\""),
        "{text}"
    );
    assert_eq!(text.matches("<testsuite name=").count(), 2, "{text}");
    assert!(text.contains("classname=\"second.AA-1\""), "{text}");
    assert_eq!(text.matches("<skipped").count(), 1, "{text}");
    assert!(text.contains("see the README"), "{text}");
}

#[test]
fn html() {
    let broken = Subject::new("<third>", AGES).cases([fails("AA-1.2")]);
    let mut report = two();
    report.subjects.extend(Suite::new([broken]).run().subjects);
    let page = report.to_html("a test", &[]);
    for part in [
        // Each case once, with the subjects that do not pass it.
        "<details class=\"case good\" data-bad=\"\" data-failed=\"\"><summary><code>AA-1.1</code>",
        "<details class=\"case bad failed\" data-bad=\"1 2\" data-failed=\"2\" open=\"\">",
        "<th scope=\"col\" data-subject=\"2\">&lt;third&gt;</th>",
        "<p>1 pass, 1 known-fail</p>",
        "<small>see the README</small>",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert_eq!(page.matches("<details").count(), 2);
}

#[test]
fn json() {
    let report = two();
    let text = report.to_json().unwrap();
    assert_eq!(Report::from_json(&text).unwrap(), report);
    let later = text.replace("\"schema\": 1", "\"schema\": 2");
    let error = Report::from_json(&later).unwrap_err().to_string();
    assert!(error.contains("form 2"), "{error}");
    // Reports of suites without capabilities do not mention them.
    let without = Suite::new([Subject::new("one", AGES).cases([passes("AA-1.1")])]);
    let text = without.run().to_json().unwrap();
    assert!(!text.contains("capabilities"), "{text}");
    assert!(text.contains("\"status\": \"pass\""), "{text}");
    assert!(Report::from_json(&text).is_ok());
}
