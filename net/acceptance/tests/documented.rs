//! `docs/SOCKETS.md` has the table of all cases on the runtimes of this project.

use fourway_net_acceptance::{CaseReport, Network, Report, Sockets, Status, SubjectReport, cases};
use fourway_testing::runtimes;

/// The marks are those of a run without a failure, as `fourway-net`'s test `contract` has to be: it
/// declares no known failures.
#[test]
fn the_table_has_each_case_and_its_marks() {
    let subject = |(name, rt): (&str, _)| {
        let sockets = Sockets::new(rt);
        let lacks_processes = sockets.processes().is_none();
        let lacks_datagrams = sockets.datagrams().is_none();
        let cases = cases().into_iter().map(|case| {
            let lacks = case.processes && lacks_processes || case.datagrams && lacks_datagrams;
            let status = if lacks {
                Status::Unsupported
            } else {
                Status::Pass
            };
            CaseReport {
                id: case.id.to_owned(),
                title: case.title.to_owned(),
                status,
                message: None,
                not_here: false,
            }
        });
        SubjectReport {
            name: name.to_owned(),
            capabilities: None,
            cases: cases.collect(),
        }
    };
    let report = Report {
        schema: fourway_suite::SCHEMA,
        subjects: runtimes().into_iter().map(subject).collect(),
    };
    let table = report.to_markdown(&[]);
    assert!(
        include_str!("../../../docs/SOCKETS.md").contains(&table),
        "make it again, by the command above it, or put this there:\n{table}"
    );
}
