//! Records of a project's own adapters, and a test that keeps them correct.
//!
//! A record is a JSON file with the status of each case of each subject in a green run. A green run
//! is determined by the declarations: a case passes, is not supported, or is a known failure, as
//! the subject declares. So the record is made from the declarations alone, and the cases check
//! that the declarations are true.
//!
//! With `recorded in` in [`conformance_main!`](crate::conformance_main), a test of
//! the name `recorded` fails as soon as a declaration, the suite's version or its
//! list of cases differs from the record. The `README.md` beside the records is made from all of
//! them and compared in the same way. With the environment variable [`UPDATE`] set, the test writes
//! both files instead:
//!
//! ```console
//! $ FOURWAY_CONFORMANCE_UPDATE=1 cargo test --workspace recorded
//! ```

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    Capability, Case, Entry,
    report::{CaseReport, Host, Report, RunInfo, SCHEMA, Status, SubjectReport},
};

/// With this environment variable, the test `recorded` writes the files in place of comparing them.
pub const UPDATE: &str = "FOURWAY_CONFORMANCE_UPDATE";

const COMMAND: &str = "FOURWAY_CONFORMANCE_UPDATE=1 cargo test --workspace recorded";

/// The file of one test binary, and its expected content.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    file: PathBuf,
    record: Record,
    cases: Vec<Case>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    schema: u32,
    suite_version: String,
    subjects: Vec<Recorded>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded {
    name: String,
    capabilities: Vec<Capability>,
    known_failures: Vec<RecordedFailure>,
    /// In the order of the contract.
    cases: BTreeMap<Status, Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RecordedFailure {
    id: String,
    reason: String,
    link: String,
}

impl Records {
    pub(crate) fn new(file: &Path, entries: &[Entry]) -> Self {
        let record = Record {
            schema: SCHEMA,
            suite_version: env!("CARGO_PKG_VERSION").to_owned(),
            subjects: entries.iter().map(Recorded::of).collect(),
        };
        // The cases are the same for every subject.
        let cases = entries
            .first()
            .map_or_else(Vec::new, |entry| entry.cases.clone());
        Self {
            file: file.to_owned(),
            record,
            cases,
        }
    }

    /// Compares, or writes if [`UPDATE`] is set.
    pub(crate) fn check(&self) -> Result<(), String> {
        let update = env::var_os(UPDATE).is_some_and(|value| !value.is_empty() && value != "0");
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let page = folder.join("README.md");
        if update {
            let told = |error: io::Error| format!("{}: {error}", self.file.display());
            fs::create_dir_all(folder).map_err(told)?;
            fs::write(&self.file, self.record.to_json()).map_err(told)?;
            return fs::write(&page, self.page(folder)?).map_err(told);
        }
        let outdated = |what: &str, path: &Path| {
            format!(
                "{what} ({}). If that is what you want, record it with\n\n    {COMMAND}\n\n\
                 and look at the difference before you commit it.",
                path.display()
            )
        };
        let recorded = Record::read(&self.file).map_err(|error| outdated(&error, &self.file))?;
        if let Some(what) = self.record.differs(&recorded) {
            return Err(outdated(&what, &self.file));
        }
        let found = fs::read_to_string(&page).unwrap_or_default();
        // A checkout on Windows may have such line ends.
        if found.replace("\r\n", "\n") != self.page(folder)? {
            return Err(outdated("the page is not what the records say", &page));
        }
        Ok(())
    }

    /// The page on all records of the folder.
    fn page(&self, folder: &Path) -> Result<String, String> {
        let told = |error: io::Error| format!("{}: {error}", folder.display());
        let mut files: Vec<PathBuf> = fs::read_dir(folder)
            .and_then(|files| files.map(|file| Ok(file?.path())).collect())
            .map_err(told)?;
        files.retain(|file| {
            file.extension()
                .is_some_and(|extension| extension == "json")
        });
        files.sort();
        let mut subjects = Vec::new();
        for file in files {
            let record = Record::read(&file)?;
            subjects.extend(record.subjects.iter().map(|one| {
                let mut report = one.to_report(&self.cases);
                report.run.suite_version.clone_from(&record.suite_version);
                report
            }));
        }
        let report = Report {
            schema: SCHEMA,
            subjects,
        };
        Ok(format!("{PREFACE}{}", report.to_markdown()))
    }
}

const PREFACE: &str = "\
# Conformance

Which runtime keeps which rule of the contract, case by case. Each JSON file here is
compared with what its adapter declares in every run of the tests, and each case with
what is declared for it; where that is green, this is true. Made by

```console
$ FOURWAY_CONFORMANCE_UPDATE=1 cargo test --workspace recorded
```

";

impl Record {
    fn read(path: &Path) -> Result<Self, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| told(&error))?;
        let record: Self = serde_json::from_str(&text).map_err(|error| told(&error))?;
        if record.schema == SCHEMA {
            Ok(record)
        } else {
            Err(told(&format!("recorded in schema {}", record.schema)))
        }
    }

    fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("strings, numbers and lists have a JSON form");
        text.push('\n');
        text
    }

    /// The first difference, in words, to what is `recorded`.
    fn differs(&self, recorded: &Self) -> Option<String> {
        if self == recorded {
            return None;
        }
        if self.suite_version != recorded.suite_version {
            let (was, is) = (&recorded.suite_version, &self.suite_version);
            return Some(format!("the suite is {is}, and {was} is recorded"));
        }
        for one in &self.subjects {
            let name = &one.name;
            let Some(other) = recorded.subjects.iter().find(|other| other.name == *name) else {
                return Some(format!("{name} is not recorded"));
            };
            if one.capabilities != other.capabilities {
                let (is, was) = (&one.capabilities, &other.capabilities);
                return Some(format!("{name} declares {is:?}, and {was:?} is recorded"));
            }
            for (status, ids) in &one.cases {
                let known = other.cases.get(status);
                let known = |id: &&String| known.is_some_and(|ids| ids.contains(id));
                if let Some(id) = ids.iter().find(|id| !known(id)) {
                    return Some(format!(
                        "{name}::{id} is {}, and is not recorded as such",
                        status.name()
                    ));
                }
            }
            if one != other {
                return Some(format!(
                    "what is recorded of {name} has other cases, or other reasons for known \
                     failures"
                ));
            }
        }
        Some(String::from("other subjects are recorded"))
    }
}

impl Recorded {
    fn of(entry: &Entry) -> Self {
        let mut cases: BTreeMap<Status, Vec<String>> = BTreeMap::new();
        let mut known_failures = Vec::new();
        for case in &entry.cases {
            let status = if case.unsupported(entry.capabilities).is_some() {
                Status::Unsupported
            } else if let Some(known) = entry.known_failure(case) {
                known_failures.push(RecordedFailure {
                    id: known.id.to_owned(),
                    reason: known.reason.to_owned(),
                    link: known.link.to_owned(),
                });
                Status::KnownFail
            } else {
                Status::Pass
            };
            cases.entry(status).or_default().push(case.id.to_owned());
        }
        Self {
            name: entry.name.to_owned(),
            capabilities: entry.declared(),
            known_failures,
            cases,
        }
    }

    /// A report as after a run.
    fn to_report(&self, cases: &[Case]) -> SubjectReport {
        let status = |id: &str| {
            let mut found = self.cases.iter();
            let found = found.find(|(_, ids)| ids.iter().any(|one| one == id));
            found.map(|(status, _)| *status)
        };
        let cases = cases.iter().filter_map(|case| {
            let mut known = self.known_failures.iter();
            let known = known.find(|known| known.id == case.id);
            Some(CaseReport {
                id: case.id.to_owned(),
                title: case.title.to_owned(),
                why: case.why.to_owned(),
                level: case.level,
                status: status(case.id)?,
                message: known.map(|known| known.reason.clone()),
                link: known.map(|known| known.link.clone()),
                rounds: None,
                millis: 0,
            })
        });
        SubjectReport {
            name: self.name.clone(),
            version: None,
            run: RunInfo {
                suite_version: String::new(),
                host: Host::current(),
                seed: 0,
                stress_millis: 0,
                command: None,
            },
            capabilities: self.capabilities.clone(),
            left_out: BTreeMap::new(),
            cases: cases.collect(),
        }
    }
}
