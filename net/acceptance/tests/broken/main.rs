//! Networks with one bug each, and the cases that catch them: proof that each case can fail.

mod network;

use std::time::Duration;

use fourway_core::AnyRuntime;
use fourway_net_acceptance::{Entry, Status, cases, run};
use fourway_std_thread::StdThread;

use crate::network::{Broken, Fault};

/// Each fault, and the cases that find it.
const FAULTS: &[(Fault, &[&str])] = &[
    (Fault::AcceptLosesConnections, &["NE-1.1"]),
    (Fault::ReadLosesBytes, &["NE-1.2"]),
    (Fault::PeekTakes, &["NE-1.2", "NE-1.5"]),
    (Fault::DroppedWriteSends, &["NE-1.3"]),
    (Fault::DroppedConnectLeaks, &["NE-1.4"]),
    (Fault::DroppedPeekTakes, &["NE-1.5"]),
    (Fault::ReceiveLosesDatagrams, &["NE-1.6"]),
    (Fault::NoEnd, &["NE-2.1"]),
    (Fault::EndOfBoth, &["NE-2.1"]),
    (Fault::EndOvertakes, &["NE-2.1"]),
    (Fault::ResetIsAnEnd, &["NE-2.2"]),
    (Fault::AllErrorsAreOne, &["NE-2.2", "NE-2.3", "NE-2.5"]),
    (Fault::UnreachableIsRefused, &["NE-2.5"]),
    (Fault::RestIsADatagram, &["NE-2.6"]),
    (Fault::NeverTooLate, &["NE-2.3"]),
    (Fault::OnlyTheFirstAddress, &["NE-2.4"]),
    (Fault::OneAfterTheOther, &["NE-2.4"]),
    (Fault::OneHoldsUpAll, &["NE-3.1"]),
    (Fault::KeepsTheThread, &["NE-3.2"]),
    (Fault::OneAcceptAtATime, &["NE-3.3"]),
    (Fault::LooksAllTheTime, &["NE-3.4"]),
    (Fault::GivesUpWithoutDescriptors, &["NE-3.5"]),
    (Fault::SpinsWithoutDescriptors, &["NE-3.5"]),
    (Fault::TellsNotWhy, &["NE-3.5"]),
    (Fault::LooksNowAndThen, &["NE-3.6"]),
    (Fault::WakesAnother, &["NE-3.6"]),
    (Fault::HangsAfterShutdown, &["NE-4.1", "NE-4.4", "NE-5.5"]),
    (Fault::EndsAfterShutdown, &["NE-4.1", "NE-4.4", "NE-5.5"]),
    (Fault::ToldByTheLastPoll, &["NE-4.4"]),
    (Fault::HangsElsewhere, &["NE-4.2"]),
    (Fault::DropBlocks, &["NE-4.3"]),
    (Fault::WaitLosesTheStatus, &["NE-5.1"]),
    (Fault::WaitLosesSignals, &["NE-5.2"]),
    (Fault::OneIsTold, &["NE-5.3"]),
    (Fault::DropKills, &["NE-5.4"]),
    (Fault::DropForgets, &["NE-5.4"]),
];

fn entry(name: &'static str, fault: Fault) -> Entry {
    Entry::new(name, move || {
        // Two workers on one processor too: if a broken network kept the only one, nobody would look at the
        // sockets, and the case would hang where it is to fail.
        let rt = StdThread::builder().worker_threads(2).build();
        let rt = AnyRuntime::new(rt.expect("a runtime"));
        Box::new(Broken::new(rt, fault))
    })
}

/// A case that catches a bug passes on the network without the bug.
#[test]
fn without_a_bug_it_is_not_caught() {
    let report = run(&[entry("none", Fault::None)], |_, _| true);
    for case in &report.subjects[0].cases {
        assert_eq!(case.status, Status::Pass, "{}: {:?}", case.id, case.message);
    }
}

#[test]
fn the_readme_says_how_many_there_are() {
    let says = format!("one of {} broken networks", FAULTS.len());
    assert!(include_str!("../../README.md").contains(&says), "{says}");
}

#[test]
fn each_broken_network_is_caught() {
    for (fault, caught) in FAULTS {
        // Events that never happen are waited for this long. On a slower machine, only cases that
        // must fail do fail.
        let broken = entry("broken", *fault).patience(Duration::from_millis(500));
        let report = run(&[broken], |_, case| caught.contains(&case.id));
        let cases = &report.subjects[0].cases;
        assert_eq!(
            cases.len(),
            caught.len(),
            "{fault:?}: a case has another number"
        );
        for case in cases {
            println!("{fault:?}: {} {:?}", case.id, case.message);
            assert_eq!(
                case.status,
                Status::Fail,
                "{} does not notice {fault:?}",
                case.id
            );
        }
    }
}

/// Every case catches a fault.
#[test]
fn each_case_catches_something() {
    for case in cases() {
        let catches = FAULTS.iter().any(|(_, cases)| cases.contains(&case.id));
        assert!(catches, "{}: {}", case.id, case.title);
    }
}

/// A known failure does not fail the run; if the case passes, the run fails.
#[test]
fn known_failures() {
    let known = |entry: Entry| {
        let entry = entry.known_failure("NE-1.2", "it is written in the README");
        let report = run(&[entry], |_, case| case.id == "NE-1.2");
        (report.subjects[0].cases[0].status, report.to_markdown(&[]))
    };
    let broken = entry("known", Fault::PeekTakes).patience(Duration::from_millis(500));
    let (status, table) = known(broken);
    assert_eq!(status, Status::KnownFail);
    assert_eq!(
        table,
        "| case | known |\n| --- | :-: |\n| NE-1.2 a dropped read loses no bytes | ! |\n"
    );
    let sound = entry("known", Fault::None);
    assert_eq!(known(sound).0, Status::UnexpectedPass);
}
