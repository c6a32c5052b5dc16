//! What is wrong with a body that is no [`Submission`](crate::task::Submission), in the words of the interface.
//!
//! serde's words name types of Rust (`expected struct Submission`, `expected i8`), and inside of the
//! work no field.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::task::QUEUES;

/// What is wrong with a body that cannot be read, if anything that this knows.
pub(crate) fn fault(sent: &Value) -> Option<String> {
    let Some(sent) = sent.as_object() else {
        return Some("the body has to be an object, with the field `work`".to_owned());
    };
    of_fields("", sent, SUBMISSION)
}

/// The fields of a submission, each with what it takes.
const SUBMISSION: &[Field] = &[
    ("work", true, Takes::Work),
    ("body", false, Takes::OneOf(&["sync", "async"])),
    ("name", false, Takes::TextOrNull),
    ("priority", false, Takes::Whole(-128, 127)),
    ("delay_ms", false, Takes::Whole(0, u64::MAX as i128)),
    ("timeout_ms", false, Takes::WholeOrNull(0, u64::MAX as i128)),
    ("attempts", false, Takes::Whole(0, u32::MAX as i128)),
    ("unique", false, Takes::TextOrNull),
    ("labels", false, Takes::Texts),
    ("on_disconnect", false, Takes::OneOf(&["keep", "cancel"])),
];

const KIND: Field = ("kind", true, Takes::OneOf(&QUEUES));

const FOLDER: &[Field] = &[KIND, ("folder", true, Takes::Text)];

const BELOW: &[Field] = &[KIND, ("below", true, Takes::Whole(0, u64::MAX as i128))];

/// Its name, whether it has to be there, and what it takes.
type Field = (&'static str, bool, Takes);

#[derive(Clone, Copy)]
enum Takes {
    Work,
    OneOf(&'static [&'static str]),
    Text,
    TextOrNull,
    Texts,
    Whole(i128, i128),
    WholeOrNull(i128, i128),
}

/// `path` is that of the object, with a dot behind it.
fn of_fields(path: &str, sent: &Map<String, Value>, fields: &[Field]) -> Option<String> {
    let is_known = |name: &&String| fields.iter().any(|(known, ..)| known == name);
    if let Some(unknown) = sent.keys().find(|name| !is_known(name)) {
        let mut fault = format!("`{path}{unknown}` is no field of a job; there are");
        for (at, (name, ..)) in fields.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let _ = write!(fault, "{comma} `{path}{name}`");
        }
        return Some(fault);
    }
    fields
        .iter()
        .find_map(|(name, is_needed, takes)| match sent.get(*name) {
            Some(value) => of_field(&format!("{path}{name}"), value, *takes),
            None => is_needed.then(|| format!("the field `{path}{name}` is missing")),
        })
}

fn of_field(path: &str, sent: &Value, takes: Takes) -> Option<String> {
    let number = sent.as_i64().map(i128::from);
    let number = number.or_else(|| sent.as_u64().map(i128::from));
    let whole = |from, to| number.is_some_and(|number| (from..=to).contains(&number));
    let (is_right, what) = match takes {
        Takes::Work => match sent.as_object() {
            Some(work) => return of_work(path, work),
            None => (false, "an object, with the field `kind`".to_owned()),
        },
        Takes::OneOf(words) => {
            let word = sent.as_str();
            let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
            (
                word.is_some_and(|word| words.contains(&word)),
                quoted.join(" or "),
            )
        }
        Takes::Text => (sent.is_string(), "a text".to_owned()),
        Takes::TextOrNull => (sent.is_string() || sent.is_null(), "a text".to_owned()),
        Takes::Texts => {
            let texts = sent.as_object();
            (
                texts.is_some_and(|texts| texts.values().all(Value::is_string)),
                "an object of texts".to_owned(),
            )
        }
        Takes::Whole(from, to) => (whole(from, to), numbers(from, to)),
        Takes::WholeOrNull(from, to) => (whole(from, to) || sent.is_null(), numbers(from, to)),
    };
    (!is_right).then(|| format!("`{path}` has to be {what}"))
}

fn numbers(from: i128, to: i128) -> String {
    match (from, to) {
        (0, _) => "a whole number that is not negative, and not too large".to_owned(),
        _ => format!("a whole number from {from} to {to}"),
    }
}

fn of_work(path: &str, work: &Map<String, Value>) -> Option<String> {
    let fields = match work.get("kind").and_then(Value::as_str) {
        Some("search") => BELOW,
        Some("index" | "pack") => FOLDER,
        // Only this can be said of a kind that is not known.
        _ => {
            let kind = work.get("kind").cloned().into_iter();
            let kind = kind.map(|kind| ("kind".to_owned(), kind)).collect();
            return of_fields(&format!("{path}."), &kind, &[KIND]);
        }
    };
    of_fields(&format!("{path}."), work, fields)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::task::Submission;

    /// Whatever serde refuses has words, which name the field and no type of Rust; and whatever it
    /// takes has none.
    #[test]
    fn there_are_words_for_whatever_is_no_submission() {
        let good = json!({
            "work": {"kind": "search", "below": 100}, "body": "async", "name": "a", "priority": 1,
            "delay_ms": 1, "timeout_ms": 1, "attempts": 1, "unique": "u", "labels": {"a": "b"},
            "on_disconnect": "keep"
        });
        let values = [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(127),
            json!(128),
            json!(1.5),
            json!(u64::MAX),
            json!(1e30),
            json!("text"),
            json!("sync"),
            json!("cancel"),
            json!([]),
            json!([1]),
            json!({}),
            json!({"a": 1}),
            json!({"a": "b"}),
        ];
        let mut refused = 0;
        let mut look = |sent: &Value, field: &str| {
            let taken = serde_json::from_value::<Submission>(sent.clone());
            let fault = fault(sent);
            assert_eq!(
                taken.is_err(),
                fault.is_some(),
                "{sent}: {taken:?}, {fault:?}"
            );
            if let Some(fault) = fault {
                refused += 1;
                assert!(fault.contains(&format!("`{field}`")), "{field}: {fault}");
                for word in [
                    "u64",
                    "u32",
                    "i8",
                    "struct",
                    "enum",
                    "map",
                    "Submission",
                    "variant",
                ] {
                    assert!(!fault.contains(word), "{fault}");
                }
            }
        };
        look(&good, "");
        for value in &values {
            for (name, ..) in SUBMISSION.iter().filter(|(name, ..)| *name != "work") {
                let mut sent = good.clone();
                sent[*name] = value.clone();
                look(&sent, name);
            }
            for (kind, field) in [("search", "below"), ("index", "folder"), ("pack", "folder")] {
                let mut sent = good.clone();
                sent["work"] = json!({"kind": kind, field: value});
                look(&sent, &format!("work.{field}"));
                sent["work"] = json!({"kind": value, field: 10});
                look(&sent, "work.kind");
                sent["work"] = json!({"kind": kind});
                look(&sent, &format!("work.{field}"));
            }
        }
        for (sent, field) in [
            (json!({}), "work"),
            (json!(3), "work"),
            (json!({"work": 3}), "work"),
            (json!({"work": {}}), "work.kind"),
            (
                json!({"work": {"kind": "search", "below": 10, "above": 5}}),
                "work.above",
            ),
            (
                json!({"work": {"kind": "search", "below": 10}, "speed": 5}),
                "speed",
            ),
        ] {
            look(&sent, field);
        }
        assert!(refused > 100);
    }
}
