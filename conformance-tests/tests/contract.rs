//! The crate's copy of the contract equals the project's, cases and rules match, and no text of the
//! project has a rule's number without its name.

#[path = "contract/rule_numbers.rs"]
mod rule_numbers;

use std::{collections::BTreeSet, path::Path};

use fourway_adapt::{Adapter, BoxFuture, Execute};
use fourway_conformance::{Capabilities, Config, Subject, cases, rules};

/// Only named, never built: the table of cases is generic.
struct Unbuilt;

#[derive(Clone)]
struct Nowhere;

impl Execute for Nowhere {
    fn execute(&self, _: BoxFuture) {}
}

impl Subject for Unbuilt {
    type Runtime = Adapter<Nowhere>;
    const NAME: &'static str = "unbuilt";

    fn capabilities() -> Capabilities {
        Capabilities::default()
    }

    fn build(_: &Config) -> Self::Runtime {
        unreachable!("no case is run here")
    }
}

#[test]
fn the_copy_in_the_crate_is_the_projects_contract() {
    let project = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONTRACT.md");
    let project = std::fs::read_to_string(project).expect("the project's contract");
    assert_eq!(
        rules::CONTRACT,
        project,
        "copy docs/CONTRACT.md to conformance-tests/CONTRACT.md"
    );
}

#[test]
fn the_copy_in_the_crate_is_the_projects_guide() {
    let read = |path: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(path).expect("the guide")
    };
    assert!(
        read("ADAPTERS.md") == read("../docs/ADAPTERS.md"),
        "copy docs/ADAPTERS.md to conformance-tests/ADAPTERS.md"
    );
}

#[test]
fn the_cores_docs_name_the_rules_of_the_contract() {
    let core = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src");
    let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("the core's source");
    let listed = read(&core.join("contract.rs"));
    let mut rows: Vec<&str> = listed
        .lines()
        .filter(|line| line.starts_with("//! | <a"))
        .collect();
    let row = |rule: &rules::Rule| {
        let rules::Rule { number, name, .. } = rule;
        format!("//! | <a id=\"{number}\"></a>{number} | {name} |")
    };
    let rules: Vec<String> = rules::all().iter().map(row).collect();
    // After them, the rules about parts of the project, which have suites of their own.
    let others = rows.split_off(rules.len().min(rows.len()));
    assert_eq!(rows, rules, "the table in core/src/contract.rs");
    let others_in_contract: Vec<String> = rule_numbers::names()
        .into_iter()
        .filter(|(number, _)| rules::rule(number).is_none())
        .map(|(number, name)| format!("//! | <a id=\"{number}\"></a>{number} | {name} |"))
        .collect();
    assert_eq!(
        others, others_in_contract,
        "the table in core/src/contract.rs"
    );

    let (mut folders, mut links) = (vec![core], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the core's source") {
            let path = entry.expect("the core's source").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            for link in read(&path).split("crate::contract#").skip(1) {
                let number: String = link
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
                    .collect();
                let rule = rules::rule(&number);
                assert!(rule.is_some(), "{}: no rule {number}", path.display());
                links += 1;
            }
        }
    }
    assert!(links > 50, "the links were not understood: {links}");
}

/// A number says nothing to a reader who does not have the contract at hand.
#[test]
fn no_rule_is_named_by_its_number_alone() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (found, seen) = rule_numbers::alone(&project);
    assert!(seen > 400, "the texts were not understood: {seen} numbers");
    assert!(
        found.is_empty(),
        "name the rule (`JO-2, destroyed before the join`) or link its name:\n{}",
        found.join("\n")
    );
}

#[test]
fn a_number_alone_is_found() {
    let alone = |text: &str| rule_numbers::in_text(text).1.len();
    for wrong in [
        "It never blocks (SP-2).",
        "It never blocks ([SP-2]).",
        "SP-2 forbids it.",
        "SP-2: it never blocks",
        "- **SP-2** It never blocks",
        "- **SP-2 never blocks.** It never blocks",
        "as SP-2 says, and spawn from anywhere",
        "(SP-2, JO-2, destroyed before the join)",
    ] {
        assert_eq!(alone(wrong), 1, "{wrong}");
    }
    for right in [
        "It never blocks (SP-2, spawn from anywhere).",
        "SP-2 spawn from anywhere",
        "SP-2: spawn from anywhere",
        "- **SP-2 spawn from anywhere.** It never blocks",
        "- **SP-2** spawn from anywhere",
        "the rules SP-1 to SP-4",
        "([spawn from anywhere][SP-2])",
        "([spawn from anywhere](fourway_core::contract#SP-2))",
        "run `SP-2`",
        "UTF-8, and SP-2.1",
    ] {
        assert_eq!(alone(right), 0, "{right}");
    }
}

#[test]
fn every_rule_has_a_case_and_every_case_a_rule() {
    let rules: BTreeSet<&str> = rules::all()
        .iter()
        .map(|rule| rule.number.as_str())
        .collect();
    assert!(rules.len() > 30, "the contract was not understood");
    for rule in rules::all() {
        let (number, name) = (&rule.number, &rule.name);
        assert!(!name.is_empty(), "`- **{number} a short name.**` is wanted");
        assert!(!rule.text.is_empty() && name.len() <= 40, "{number} {name}");
    }
    let cases = cases::<Unbuilt>();
    let tested: BTreeSet<&str> = cases.iter().map(|case| case.rule()).collect();
    let untested: Vec<_> = rules.difference(&tested).collect();
    let unruly: Vec<_> = tested.difference(&rules).collect();
    assert!(untested.is_empty(), "rules without a case: {untested:?}");
    assert!(unruly.is_empty(), "cases without a rule: {unruly:?}");
}

#[test]
fn ids_are_unique_and_texts_are_there() {
    let mut seen = BTreeSet::new();
    for case in cases::<Unbuilt>() {
        assert!(seen.insert(case.id), "twice: {}", case.id);
        let (_, ordinal) = case.id.split_once('.').expect("RULE.ORDINAL");
        assert!(ordinal.parse::<u32>().is_ok_and(|n| n > 0), "{}", case.id);
        assert!(case.title.len() > 8 && case.why.len() > 8, "{}", case.id);
    }
}
