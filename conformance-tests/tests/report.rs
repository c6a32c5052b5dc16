//! The formats of a report, read by strict parsers, with hostile texts.

use std::{fs, path::Path};

use fourway_conformance::{
    Level,
    report::{Grade, JSON_SCHEMA, Report, SCHEMA, Status},
    rules,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Text as a broken process may write it.
fn hostile() -> impl Strategy<Value = String> {
    let bits = prop::sample::select(vec![
        "<script>alert(1)</script>",
        "</pre>",
        "\"",
        "'",
        "&amp;",
        "&",
        "]]>",
        "<![CDATA[",
        "-->",
        "\u{1b}[31m",
        "\u{0}",
        "\r\n",
        "\u{fffe}",
        "\u{202e}",
        "`",
        "|",
        "=cmd()",
        "ok",
        " ",
        "é🦀",
    ]);
    let any = prop::collection::vec(any::<char>(), 0..8);
    let any = any.prop_map(|characters| characters.into_iter().collect::<String>());
    prop::collection::vec(prop_oneof![bits.prop_map(str::to_owned), any], 0..6)
        .prop_map(|parts| parts.concat())
}

fn case(ordinal: usize) -> impl Strategy<Value = Value> {
    let status = prop::sample::select(Status::ALL.to_vec());
    let level = prop::sample::select(Level::ALL.to_vec());
    let text = (hostile(), hostile(), prop::option::of(hostile()));
    let link = prop::option::of(prop_oneof![
        hostile(),
        Just(String::from("javascript:alert(1)")),
        hostile().prop_map(|text| format!("https://{text}")),
    ]);
    let numbers = (prop::option::of(any::<u64>()), any::<u64>());
    (status, level, text, link, numbers).prop_map(
        move |(status, level, (title, why, message), link, (rounds, millis))| {
            json!({
                "id": format!("JO-2.{ordinal}"), "title": title, "why": why,
                "level": level.name(), "status": status.name(), "message": message,
                "link": link, "rounds": rounds, "millis": millis,
            })
        },
    )
}

/// A report as a file, from a foreign suite: names are unique, and all else is arbitrary.
fn file() -> impl Strategy<Value = Value> {
    let cases = (0..4_usize).prop_flat_map(|n| (0..n).map(case).collect::<Vec<_>>());
    let texts = (hostile(), hostile(), prop::option::of(hostile()));
    let subject = (texts, cases, any::<u64>(), 0..3_usize);
    prop::collection::vec(subject, 0..4).prop_map(|subjects| {
        let subjects: Vec<Value> = subjects
            .into_iter()
            .enumerate()
            .map(|(at, ((name, version, command), cases, seed, left_out))| {
                json!({
                    "name": format!("{at}{name}"), "version": version,
                    "run": {
                        "suite_version": version, "seed": seed, "stress_millis": 1000,
                        "command": command,
                        "host": { "os": name, "arch": version, "parallelism": 2, "debug": true },
                    },
                    "capabilities": ["shutdown"], "left_out": { "core": left_out },
                    "cases": cases,
                })
            })
            .collect();
        json!({ "schema": SCHEMA, "subjects": subjects })
    })
}

fn parsed(file: &Value) -> Report {
    Report::from_json(&file.to_string()).expect("a report")
}

fn plain_file() -> Value {
    let case = |id: &str, level: &str, status: &str| {
        json!({
            "id": id, "title": "it holds", "why": "it matters", "level": level,
            "status": status, "message": null, "link": null, "rounds": null, "millis": 1,
        })
    };
    json!({
        "schema": SCHEMA,
        "subjects": [{
            "name": "mine", "version": "1.0",
            "run": {
                "suite_version": "0.1.0", "seed": 7, "stress_millis": 1000,
                "command": "cargo test -p mine --test conformance --",
                "host": { "os": "linux", "arch": "x86_64", "parallelism": 2, "debug": true },
            },
            "capabilities": [], "left_out": {},
            "cases": [
                case("JO-2.1", "core", "pass"),
                case("BL-6.1", "extended", "pass"),
                case("FA-1.9", "stress", "pass"),
            ],
        }],
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_comes_back_as_it_went(file in file()) {
        let report = parsed(&file);
        let text = report.to_json();
        prop_assert_eq!(&Report::from_json(&text).expect("a report"), &report);
        prop_assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), file.clone());
        let wrong = violation(&schema(), &schema(), &file);
        prop_assert_eq!(wrong, None);
    }

    #[test]
    fn html_is_well_formed_and_nothing_in_it_is_a_tag(file in file()) {
        let page = parsed(&file).to_html();
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        let page = roxmltree::Document::parse_with_options(&page, options).expect("well-formed");
        let all = || page.descendants().filter(roxmltree::Node::is_element);
        prop_assert_eq!(all().filter(|node| node.has_tag_name("script")).count(), 1);
        for link in all().filter_map(|node| node.attribute("href")) {
            let web = link.starts_with("https://") || link.starts_with("http://");
            prop_assert!(web || link.starts_with('#'), "{}", link);
        }
        // Each message is there as text, without characters that no page may contain.
        let texts: Vec<&str> = all().filter_map(|node| node.text()).collect();
        for case in cases(&file) {
            let Some(message) = case["message"].as_str() else { continue };
            if case["status"] != "unsupported" && !message.is_empty() {
                let shown = message.replace(
                    |one: char| {
                        (one.is_control() && one != '\t' && one != '\n')
                            || matches!(one, '\u{fffe}' | '\u{ffff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
                    },
                    "\u{fffd}",
                );
                prop_assert!(texts.contains(&shown.as_str()), "{:?} is not in {:?}", shown, texts);
            }
        }
    }

    #[test]
    fn junit_is_well_formed_and_counts_right(file in file()) {
        let report = parsed(&file);
        let text = report.to_junit().expect("XML");
        let junit = roxmltree::Document::parse(&text).expect("well-formed");
        let count = |tag: &str| junit.descendants().filter(|node| node.has_tag_name(tag)).count();
        let of = |wanted: &[&str]| {
            let found = |case: &&Value| wanted.iter().any(|status| case["status"] == *status);
            cases(&file).iter().filter(found).count()
        };
        prop_assert_eq!(count("testcase"), cases(&file).len());
        prop_assert_eq!(count("skipped"), of(&["unsupported", "known-fail", "inconclusive"]));
        prop_assert_eq!(count("failure"), of(&["fail", "unexpected-pass"]));
        prop_assert_eq!(count("error"), of(&["timeout", "crashed"]));
    }

    #[test]
    fn badges_are_well_formed(file in file()) {
        for subject in &parsed(&file).subjects {
            let badge = subject.to_badge();
            let badge = roxmltree::Document::parse(&badge).expect("well-formed");
            let tags = badge.descendants().filter(roxmltree::Node::is_element).count();
            prop_assert_eq!(tags, 10);
        }
    }

    #[test]
    fn a_terminal_is_not_steered_and_a_table_keeps_its_columns(file in file()) {
        let report = parsed(&file);
        let text = report.to_text();
        prop_assert!(!text.contains(|one: char| one.is_control() && one != '\n' && one != '\t'));
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        for table in report.to_markdown().split("\n\n").filter(|part| part.starts_with("| ")) {
            let columns: Vec<usize> = table.lines().map(bars).collect();
            prop_assert!(columns.windows(2).all(|two| two[0] == two[1]), "{}", table);
        }
    }

    #[test]
    fn what_is_not_a_report_is_refused_and_nothing_panics(text in hostile(), file in file()) {
        prop_assert!(Report::from_json(&text).is_err());
        // Cut off at any place.
        let whole = file.to_string();
        let cut = whole.char_indices().map(|(at, _)| at).nth(text.len() * 3).unwrap_or(1);
        if cut < whole.len() {
            prop_assert!(Report::from_json(&whole[..cut]).is_err());
        }
    }
}

fn cases(file: &Value) -> Vec<Value> {
    let subjects = file["subjects"].as_array().into_iter().flatten();
    subjects
        .flat_map(|subject| subject["cases"].as_array().cloned().unwrap_or_default())
        .collect()
}

fn refused(file: &Value) -> String {
    let error = Report::from_json(&file.to_string()).expect_err("it is refused");
    error.to_string()
}

#[test]
fn fields_of_a_later_suite_are_passed_over() {
    let mut file = plain_file();
    let report = parsed(&file);
    file["weather"] = json!("fine");
    file["subjects"][0]["cases"][0]["mood"] = json!([1, 2]);
    file["subjects"][0]["run"]["host"]["kernel"] = json!("6.1");
    assert_eq!(parsed(&file), report);
}

#[test]
fn another_schema_is_refused_with_what_to_do() {
    let mut file = plain_file();
    file["schema"] = json!(SCHEMA + 1);
    // The form in a later schema does not matter.
    file["subjects"] = json!({ "mine": "pass" });
    let text = refused(&file);
    assert!(
        text.contains("schema 2") && text.contains("a later one"),
        "{text}"
    );
    file["schema"] = json!(0);
    let text = refused(&file);
    assert!(
        text.contains("schema 0") && text.contains("make the report again"),
        "{text}"
    );
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    assert!(refused(&json!({ "name": "x" })).contains("no field `schema`"));
    let mut file = plain_file();
    file["subjects"][0]["cases"][0]["status"] = json!("brilliant");
    assert!(refused(&file).contains("brilliant"), "{}", refused(&file));
    let mut file = plain_file();
    file["subjects"][0]["cases"][1]["id"] = json!("JO-2.1");
    assert!(refused(&file).contains("`JO-2.1` of `mine` occurs twice"));
    let mut file = plain_file();
    let twice = file["subjects"][0].clone();
    file["subjects"].as_array_mut().unwrap().push(twice);
    assert!(refused(&file).contains("`mine` occurs twice"));
    let missing = Report::read(Path::new("no-such-report.json")).unwrap_err();
    assert!(
        missing.to_string().starts_with("no-such-report.json: "),
        "{missing}"
    );
}

#[test]
fn merging_keeps_how_each_was_run_and_takes_the_later() {
    let (first, mut file) = (parsed(&plain_file()), plain_file());
    file["subjects"][0]["name"] = json!("yours");
    file["subjects"][0]["run"]["seed"] = json!(8);
    let second = parsed(&file);
    file["subjects"][0]["name"] = json!("mine");
    let again = parsed(&file);
    let merged = Report::merge([first, second, again]).unwrap();
    let found: Vec<(&str, u64)> = merged
        .subjects
        .iter()
        .map(|subject| (subject.name.as_str(), subject.run.seed))
        .collect();
    assert_eq!(found, [("yours", 8), ("mine", 8)]);
    let none = Report::merge([]).unwrap_err();
    assert!(none.to_string().contains("no reports"), "{none}");
}

#[test]
fn nothing_is_not_green() {
    let mut file = plain_file();
    assert!(!parsed(&file).is_failure());
    for status in ["unsupported", "inconclusive"] {
        for case in file["subjects"][0]["cases"].as_array_mut().unwrap() {
            case["status"] = json!(status);
        }
        assert!(parsed(&file).is_failure(), "{status}");
    }
    file["subjects"][0]["cases"] = json!([]);
    assert!(
        parsed(&file)
            .failure()
            .unwrap()
            .contains("no case was selected")
    );
    file["subjects"] = json!([]);
    assert!(parsed(&file).failure().unwrap().contains("no subject"));
}

#[test]
fn a_level_is_earned_by_what_was_run_and_passed() {
    let grade = |change: fn(&mut Value)| {
        let mut file = plain_file();
        change(&mut file["subjects"][0]);
        parsed(&file).subjects[0].grade()
    };
    assert_eq!(grade(|_| {}), Grade::Extended);
    assert_eq!(
        grade(|one| one["left_out"] = json!({ "core": 1 })),
        Grade::Partial
    );
    assert_eq!(
        grade(|one| one["left_out"] = json!({ "extended": 1 })),
        Grade::Core
    );
    assert_eq!(
        grade(|one| one["left_out"] = json!({ "stress": 1 })),
        Grade::Extended
    );
    assert_eq!(grade(|one| one["cases"] = json!([])), Grade::Partial);
    // No core case may be skipped or be a known failure.
    assert_eq!(
        grade(|one| one["cases"][0]["status"] = json!("known-fail")),
        Grade::None
    );
    assert_eq!(
        grade(|one| one["cases"][0]["status"] = json!("unsupported")),
        Grade::None
    );
    assert_eq!(
        grade(|one| one["cases"][0]["status"] = json!("inconclusive")),
        Grade::None
    );
    assert_eq!(
        grade(|one| one["cases"][1]["status"] = json!("unsupported")),
        Grade::Extended
    );
    assert_eq!(
        grade(|one| one["cases"][1]["status"] = json!("known-fail")),
        Grade::Core
    );
    assert_eq!(
        grade(|one| one["cases"][2]["status"] = json!("fail")),
        Grade::Core
    );
}

#[test]
fn a_failure_is_shown_with_the_rule_and_the_way_to_see_it_again() {
    let mut file = plain_file();
    file["subjects"][0]["cases"][0]["status"] = json!("fail");
    file["subjects"][0]["cases"][0]["message"] = json!("left: 1");
    file["subjects"][0]["cases"][2]["status"] = json!("timeout");
    let (page, text) = (parsed(&file).to_html(), parsed(&file).to_text());
    let rule = &rules::rule("JO-2").expect("a rule").text;
    assert!(page.contains(rule.split('`').next().unwrap()), "{rule}");
    for again in [
        "cargo test -p mine --test conformance -- run JO-2.1 --subject mine",
        "cargo test -p mine --test conformance -- run FA-1.9 --subject mine --seed 7",
    ] {
        assert!(page.contains(again) && text.contains(again), "{again}");
    }
}

#[test]
fn the_documentation_knows_every_field() {
    let project = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/REPORTS.md");
    let page = fs::read_to_string(project).expect("docs/REPORTS.md");
    let mut names = Vec::new();
    fields(&schema(), &mut names);
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(
            page.contains(&format!("`{name}`")),
            "docs/REPORTS.md: `{name}`"
        );
    }
    for status in Status::ALL {
        assert!(page.contains(&format!("`{}`", status.name())), "{status:?}");
    }
}

fn fields(schema: &Value, names: &mut Vec<String>) {
    let Some(object) = schema.as_object() else {
        return;
    };
    for (key, inner) in object {
        if key == "properties" {
            names.extend(
                inner
                    .as_object()
                    .into_iter()
                    .flat_map(|inner| inner.keys().cloned()),
            );
        }
        match inner {
            Value::Object(inner) => inner.values().for_each(|inner| fields(inner, names)),
            other => fields(other, names),
        }
    }
}

fn schema() -> Value {
    serde_json::from_str(JSON_SCHEMA).expect("the schema is JSON")
}

#[test]
fn the_schema_refuses_what_the_suite_refuses() {
    let changes: [fn(&mut Value); 7] = [
        |file| file["schema"] = json!(2),
        |file| file["subjects"] = json!(1),
        |file| file["subjects"][0]["cases"][0]["status"] = json!("brilliant"),
        |file| file["subjects"][0]["cases"][0]["level"] = json!("expert"),
        |file| file["subjects"][0]["capabilities"] = json!(["flight"]),
        |file| file["subjects"][0]["run"]["seed"] = json!(-1),
        |file| {
            file["subjects"][0]["run"]
                .as_object_mut()
                .unwrap()
                .remove("host");
        },
    ];
    assert_eq!(violation(&schema(), &schema(), &plain_file()), None);
    for (at, change) in changes.into_iter().enumerate() {
        let mut file = plain_file();
        change(&mut file);
        assert!(
            violation(&schema(), &schema(), &file).is_some(),
            "change {at}"
        );
        assert!(Report::from_json(&file.to_string()).is_err(), "change {at}");
    }
}

/// The violation of a JSON Schema by `value`. It supports the keywords of our schema; others are an
/// error. A whole validator would be forty crates.
fn violation(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    let schema = schema.as_object().expect("a schema is an object");
    let wrong = |what: &str| Some(format!("{what}: {value}"));
    for (keyword, argument) in schema {
        let list = || argument.as_array().expect("a list");
        match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => {}
            "$ref" => {
                let path = argument.as_str().expect("a path").trim_start_matches('#');
                let target = root.pointer(path).expect("it is defined");
                if let Some(wrong) = violation(root, target, value) {
                    return Some(wrong);
                }
            }
            "const" if value == argument => {}
            "enum" if list().contains(value) => {}
            "const" | "enum" => return wrong("not one of these"),
            "minimum" => {
                if value.is_i64() && value.as_i64() < argument.as_i64() {
                    return wrong("too small");
                }
            }
            "type" => {
                let types = argument
                    .as_array()
                    .cloned()
                    .unwrap_or(vec![argument.clone()]);
                let fits = |one: &Value| match one.as_str().expect("a type") {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("a type that is not understood: {other}"),
                };
                if !types.iter().any(fits) {
                    return wrong("of another type");
                }
            }
            "required" => {
                for name in list() {
                    if value.get(name.as_str().expect("a name")).is_none() {
                        return wrong(&format!("{name} is missing"));
                    }
                }
            }
            "properties" => {
                for (name, inner) in argument.as_object().expect("an object") {
                    if let Some(found) = value.get(name) {
                        if let Some(wrong) = violation(root, inner, found) {
                            return Some(format!("{name}: {wrong}"));
                        }
                    }
                }
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().expect("an object");
                let mut names = value.as_object().into_iter().flat_map(|value| value.keys());
                if *argument == json!(false) && names.any(|name| !known.contains_key(name)) {
                    return wrong("an unknown field");
                }
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    if let Some(wrong) = violation(root, argument, item) {
                        return Some(wrong);
                    }
                }
            }
            other => panic!("a keyword that is not understood: {other}"),
        }
    }
    None
}
