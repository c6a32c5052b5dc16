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
            let mut suite = TestSuite::new(&subject.name);
            for case in &subject.cases {
                let mut status = match case.status {
                    Status::Pass => TestCaseStatus::success(),
                    Status::Unsupported | Status::KnownFail | Status::Inconclusive => {
                        TestCaseStatus::skipped()
                    }
                    Status::Fail | Status::UnexpectedPass => {
                        TestCaseStatus::non_success(NonSuccessKind::Failure)
                    }
                    Status::Timeout | Status::Crashed => {
                        TestCaseStatus::non_success(NonSuccessKind::Error)
                    }
                };
                status.set_type(case.status.name());
                if let Some(message) = &case.message {
                    status.set_message(message);
                }
                let mut test = TestCase::new(format!("{} {}", case.id, case.title), status);
                test.set_classname(format!("{}.{}", subject.name, case.rule()))
                    .set_time(case.duration());
                suite.add_test_case(test);
            }
            junit.add_test_suite(suite);
        }
        junit.to_string().map_err(std::io::Error::other)
    }
}
