//! JUnit XML, for the systems that read it: [`Junit`].

use std::{io, time::Duration};

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use crate::{report::Report, status::Status};

impl Report {
    /// The JUnit form: a suite for each subject; cases that were not run are skipped, with the
    /// reason. `name` is that of the whole.
    ///
    /// # Errors
    ///
    /// If a message cannot be written as XML.
    pub fn to_junit(&self, name: &str) -> io::Result<String> {
        let mut junit = Junit::new(name);
        for subject in &self.subjects {
            let cases = subject.cases.iter().map(|case| JunitCase {
                class: format!("{}.{}", subject.name, case.rule()),
                name: format!("{} {}", case.id, case.title),
                status: case.status,
                message: case.message.as_deref(),
                link: None,
                time: None,
            });
            junit.suite(&subject.name, &[], cases);
        }
        junit.to_xml()
    }
}

/// A report in JUnit's form, for suites that write their own.
#[derive(Debug)]
pub struct Junit(quick_junit::Report);

/// A case of a [`Junit`].
#[derive(Debug)]
pub struct JunitCase<'a> {
    /// The subject and the rule.
    pub class: String,
    /// The number and the title.
    pub name: String,
    /// What came out.
    pub status: Status,
    /// Why.
    pub message: Option<&'a str>,
    /// Where it is being dealt with.
    pub link: Option<&'a str>,
    /// How long it took.
    pub time: Option<Duration>,
}

impl Junit {
    /// An empty report of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(quick_junit::Report::new(name))
    }

    /// Adds a subject with its properties and cases.
    pub fn suite<'a>(
        &mut self,
        name: &str,
        properties: &[(&str, &str)],
        cases: impl IntoIterator<Item = JunitCase<'a>>,
    ) {
        let mut suite = TestSuite::new(allowed(name));
        for (name, value) in properties {
            suite.add_property((*name, allowed(value).as_str()));
        }
        for case in cases {
            let mut test = TestCase::new(allowed(&case.name), status(&case));
            test.set_classname(allowed(&case.class));
            if let Some(time) = case.time {
                test.set_time(time);
            }
            suite.add_test_case(test);
        }
        self.0.add_test_suite(suite);
    }

    /// As XML.
    ///
    /// # Errors
    ///
    /// If a text cannot be written as XML.
    pub fn to_xml(&self) -> io::Result<String> {
        self.0.to_string().map_err(io::Error::other)
    }
}

fn status(case: &JunitCase<'_>) -> TestCaseStatus {
    let mut status = match case.status {
        Status::Pass => TestCaseStatus::success(),
        Status::Unsupported | Status::KnownFail | Status::Inconclusive => TestCaseStatus::skipped(),
        Status::Fail | Status::UnexpectedPass => {
            TestCaseStatus::non_success(NonSuccessKind::Failure)
        }
        Status::Timeout | Status::Crashed => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    status.set_type(case.status.name());
    if let Some(message) = case.message {
        // The attribute is a headline; the whole is the element's text.
        let message = allowed(message);
        status.set_message(message.lines().next().unwrap_or_default());
        let link = allowed(case.link.unwrap_or_default());
        status.set_description(format!("{message}\n{link}").trim_end());
    }
    status
}

/// `quick_junit` leaves out control characters, but not the two other characters that XML forbids.
fn allowed(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}
