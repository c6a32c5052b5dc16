//! JUnit XML, for the systems that read it.

use fourway_suite::{Junit, JunitCase};

use super::Report;

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
            let seed = subject.run.seed.to_string();
            let properties = [
                ("suite-version", subject.run.suite_version.as_str()),
                ("level", subject.grade().name()),
                ("seed", seed.as_str()),
            ];
            let cases = subject.cases.iter().map(|case| JunitCase {
                class: format!("{}.{}", subject.name, case.rule()),
                name: format!("{} {}", case.id, case.title),
                status: case.status,
                message: case.message.as_deref(),
                link: case.link.as_deref(),
                time: Some(case.duration()),
            });
            junit.suite(&subject.name, &properties, cases);
        }
        junit.to_xml()
    }
}
