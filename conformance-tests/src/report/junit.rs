//! JUnit XML, for the systems that read it.

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::{Report, Status};

impl Report {
    /// The JUnit form: a suite for each subject; cases that were not run are
    /// skipped, with the reason.
    ///
    /// # Errors
    ///
    /// If a message cannot be written as XML.
    pub fn to_junit(&self) -> std::io::Result<String> {
        let mut junit = Junit::new("fourway-conformance");
        for subject in &self.subjects {
            let mut suite = TestSuite::new(allowed(&subject.name));
            suite
                .add_property((
                    "suite-version",
                    allowed(&subject.run.suite_version).as_str(),
                ))
                .add_property(("level", subject.grade().name()))
                .add_property(("seed", subject.run.seed.to_string().as_str()));
            for case in &subject.cases {
                let mut status = match case.status {
                    Status::Pass => TestCaseStatus::success(),
                    Status::Unsupported | Status::KnownFail | Status::Inconclusive => {
                        TestCaseStatus::skipped()
                    }
                    Status::Fail | Status::UnexpectedPass => {
                        TestCaseStatus::non_success(NonSuccessKind::Failure)
                    }
                    // Timed out, crashed.
                    _ => TestCaseStatus::non_success(NonSuccessKind::Error),
                };
                status.set_type(case.status.name());
                if let Some(message) = &case.message {
                    // The attribute is a headline; the whole is the element's text.
                    let message = allowed(message);
                    status.set_message(message.lines().next().unwrap_or_default());
                    let link = allowed(case.link.as_deref().unwrap_or_default());
                    status.set_description(format!("{message}\n{link}").trim_end());
                }
                let mut test =
                    TestCase::new(allowed(&format!("{} {}", case.id, case.title)), status);
                test.set_classname(allowed(&format!("{}.{}", subject.name, case.rule())))
                    .set_time(case.duration());
                suite.add_test_case(test);
            }
            junit.add_test_suite(suite);
        }
        junit.to_string().map_err(std::io::Error::other)
    }
}

/// `quick_junit` leaves out control characters, but not the two other characters that XML forbids.
fn allowed(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}
