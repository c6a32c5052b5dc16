//! The snippets of `snippets.txt`, on every runtime and in every model that supports them.
//!
//! | line | |
//! |---|---|
//! | `# name` | a block: a fresh session |
//! | `> code` | code to execute |
//! | `\| code` | its next line |
//! | `= value` | what it gives; nothing, if that is `undefined` |
//! | `! Name: text` | the error it gives, and a part of its message |
//! | `o text` | a line of its output |
//! | `k sync`, `k async` | what it is |
//! | `l line` | the line of the error |
//! | `h text` | a part of the error's hint |
//! | `m models` | the models that take it: *async* does not, where sync code blocks |

use std::panic::{AssertUnwindSafe, catch_unwind};

use code_worker::{CellError, Connection, Limits, Worker, detect::Kind, protocol::Reply};
use fourway::{AnyRuntime, execute::Model};
use fourway_testing::{on_every_runtime, run};

on_every_runtime!(erased snippets_give_the_same);

#[derive(Debug, Default)]
struct Snippet {
    name: String,
    steps: Vec<Step>,
}

#[derive(Debug, Default)]
struct Step {
    code: String,
    value: Option<String>,
    error: Option<String>,
    output: Vec<String>,
    kind: Option<Kind>,
    line: Option<u32>,
    hint: Option<String>,
    models: Option<Vec<Model>>,
}

fn snippets() -> Vec<Snippet> {
    let mut snippets: Vec<Snippet> = Vec::new();
    for line in include_str!("snippets.txt").lines().skip(1) {
        let Some(first) = line.chars().next() else {
            continue;
        };
        let rest = line[1..].strip_prefix(' ').unwrap_or("").to_owned();
        if first == '#' {
            snippets.push(Snippet {
                name: rest,
                ..Snippet::default()
            });
            continue;
        }
        let steps = &mut snippets.last_mut().expect("a block").steps;
        if first == '>' {
            steps.push(Step {
                code: rest,
                ..Step::default()
            });
            continue;
        }
        let step = steps.last_mut().expect("some code");
        match first {
            '|' => {
                step.code.push('\n');
                step.code.push_str(&rest);
            }
            '=' => step.value = Some(rest),
            '!' => step.error = Some(rest),
            'o' => step.output.push(rest),
            'k' => {
                step.kind = Some(if rest == "async" {
                    Kind::Async
                } else {
                    Kind::Sync
                })
            }
            'l' => step.line = Some(rest.parse().unwrap()),
            'h' => step.hint = Some(rest),
            'm' => step.models = Some(rest.split(' ').map(|name| name.parse().unwrap()).collect()),
            other => panic!("{other}"),
        }
    }
    snippets
}

fn check_error(error: &CellError, step: &Step, place: &str) {
    let expected = step.error.as_deref();
    let Some(expected) = expected else {
        panic!("{place}: {error:?}");
    };
    let (name, text) = expected.split_once(": ").unwrap_or((expected, ""));
    assert_eq!(error.name, name, "{place}: {error:?}");
    assert!(error.message.contains(text), "{place}: {error:?}");
    if let Some(line) = step.line {
        assert_eq!(error.line, Some(line), "{place}: {error:?}");
        let caret = error.caret.as_deref().unwrap_or_default();
        let code = step.code.split('\n').nth(line as usize - 1).unwrap();
        assert!(
            caret.starts_with(code) && caret.ends_with('^'),
            "{place}: {caret}"
        );
        assert!(error.column.is_some(), "{place}: {error:?}");
    }
    let hint = error.hint.as_deref().unwrap_or_default();
    assert!(
        hint.contains(step.hint.as_deref().unwrap_or("")),
        "{place}: {error:?}"
    );
}

fn check(connection: &Connection, rt: &AnyRuntime, snippet: &Snippet, model: Model) {
    for (number, step) in snippet.steps.iter().enumerate() {
        let place = format!("{} [{}], {model}", snippet.name, step.code);
        let models = step.models.as_ref();
        if models.is_some_and(|models| !models.contains(&model)) {
            continue;
        }
        let id = u64::try_from(number).unwrap();
        let (kind, outcome) = run(rt, connection.execute(&snippet.name, &step.code, id));
        match outcome {
            Ok(value) => {
                assert_eq!(step.error, None, "{place}: {value:?}");
                let expected = step.value.clone().filter(|value| !value.is_empty());
                assert_eq!(value, expected, "{place}");
                assert_eq!(step.kind.unwrap_or(kind), kind, "{place}");
            }
            Err(error) => check_error(&error, step, &place),
        }
        // Its output is there when the execution has ended.
        let mut output = Vec::new();
        while output.len() < step.output.len() {
            let answer = run(rt, connection.outbox().pop()).unwrap();
            if let Reply::Output { text, .. } = answer.reply {
                output.extend(text.lines().map(str::to_owned));
            }
        }
        assert_eq!(output, step.output, "{place}");
    }
}

fn snippets_give_the_same(rt: AnyRuntime) {
    let snippets = snippets();
    assert!(snippets.len() >= 100, "{}", snippets.len());
    let mut failed = Vec::new();
    for model in Model::ALL {
        let worker = Worker::new(rt.clone(), model, Limits::default());
        let connection = worker.connect();
        for snippet in &snippets {
            let checked = catch_unwind(AssertUnwindSafe(|| {
                check(&connection, &rt, snippet, model);
            }));
            if checked.is_err() {
                failed.push(format!("{}, {model}", snippet.name));
            }
            connection.reset(&snippet.name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
