//! The rules NE-1 to NE-4 as cases: they pass on every runtime, and each of them fails with
//! sockets that are broken where it looks.
//!
//! What needs a process for itself is beside it: a process without descriptors
//! (`tests/exhausted.rs`), a forked child (`tests/fork.rs`), the processor time of idle sockets
//! (`tests/idle.rs`).

mod broken;
mod cases;
mod network;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use fourway_testing::{AGES, any, runtimes};

use crate::{
    broken::{Broken, Fault},
    cases::{Bench, CASES},
    network::Ours,
};

#[test]
fn every_runtime_keeps_the_rules() {
    for case in CASES {
        // New ones each time: a case may shut them down.
        for (name, rt) in runtimes() {
            // Shown if it fails.
            eprintln!("{} {} on {name}", case.number, case.name);
            (case.run)(&Bench::new(&Ours(rt), AGES));
        }
    }
}

/// Each way to be broken, and the cases that find out.
const FAULTS: &[(Fault, &[&str])] = &[
    (Fault::AcceptLosesConnections, &["NE-1.1"]),
    (Fault::ReadLosesBytes, &["NE-1.2"]),
    (Fault::PeekTakes, &["NE-1.2"]),
    (Fault::DroppedWriteSends, &["NE-1.3"]),
    (Fault::DroppedConnectLeaks, &["NE-1.4"]),
    (Fault::NoEnd, &["NE-2.1"]),
    (Fault::EndOfBoth, &["NE-2.1"]),
    (Fault::EndOvertakes, &["NE-2.1"]),
    (Fault::ResetIsAnEnd, &["NE-2.2"]),
    (Fault::AllErrorsAreOne, &["NE-2.2", "NE-2.3"]),
    (Fault::NeverTooLate, &["NE-2.3"]),
    (Fault::OnlyTheFirstAddress, &["NE-2.4"]),
    (Fault::OneAfterTheOther, &["NE-2.4"]),
    (Fault::OneHoldsUpAll, &["NE-3.1"]),
    (Fault::KeepsTheThread, &["NE-3.2"]),
    (Fault::OneAcceptAtATime, &["NE-3.3"]),
    (Fault::LooksAllTheTime, &["NE-3.4"]),
    (Fault::HangsAfterShutdown, &["NE-4.1"]),
    (Fault::EndsAfterShutdown, &["NE-4.1"]),
    (Fault::HangsElsewhere, &["NE-4.2"]),
    (Fault::DropBlocks, &["NE-4.3"]),
];

/// What catches a bug does not catch its carrier.
#[test]
fn without_a_bug_it_is_not_caught() {
    for case in CASES {
        (case.run)(&Bench::new(&Broken::new(any(), Fault::None), AGES));
    }
}

#[test]
fn each_broken_network_is_caught() {
    for (fault, expected) in FAULTS {
        let caught: Vec<_> = CASES
            .iter()
            .filter(|case| fails(case, *fault))
            .map(|case| case.number)
            .collect();
        assert!(
            expected.iter().all(|number| caught.contains(number)),
            "{fault:?} is to be caught by {expected:?}, and was by {caught:?}"
        );
        eprintln!("{fault:?}: {caught:?}");
    }
}

/// No case is there for nothing.
#[test]
fn each_case_catches_something() {
    for case in CASES {
        let catches = FAULTS.iter().any(|(_, cases)| cases.contains(&case.number));
        assert!(catches, "{}: {}", case.number, case.name);
    }
}

fn fails(case: &cases::Case, fault: Fault) -> bool {
    // Of those that are not looked at a case may take its time to find nothing.
    if !FAULTS
        .iter()
        .any(|(it, cases)| *it == fault && cases.contains(&case.number))
    {
        return false;
    }
    // What never happens is waited for so long. A machine that is slower than that fails a case
    // that was to fail.
    let patience = Duration::from_millis(500);
    let broken = Broken::new(any(), fault);
    let run = || (case.run)(&Bench::new(&broken, patience));
    catch_unwind(AssertUnwindSafe(run)).is_err()
}
