//! The bundled set: valid files, and files that are broken on purpose.

use std::{collections::BTreeMap, fs, path::Path};

use fourway_adapt::{self as adapt, Adapter, BoxFuture, Execute};
use fourway_core::{BlockOn, Call, Spawner};
use proptest::prelude::*;
use skillkit::{Skills, parse_bytes};

/// The library needs only an executor.
#[derive(Clone)]
struct ThreadEach;

impl Execute for ThreadEach {
    fn execute(&self, future: BoxFuture) {
        std::thread::spawn(move || adapt::run(future));
    }
}

fn skills() -> Skills<Adapter<ThreadEach>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("skills");
    Skills::new(Adapter::new(ThreadEach), folder)
}

/// Folder, line, and words of the reason.
const BROKEN: &[(&str, usize, &str)] = &[
    ("broken/a-list", 2, "not valid"),
    ("broken/bad-yaml", 3, "not valid"),
    ("broken/empty", 1, "must begin with"),
    ("broken/long-description", 3, "the limit is 1024"),
    ("broken/no-body", 5, "no instructions"),
    ("broken/no-description", 1, "no `description`"),
    ("broken/no-front-matter", 1, "must begin with"),
    ("broken/no-name", 1, "no `name`"),
    ("broken/not-closed", 7, "not closed"),
    ("broken/not-utf8", 3, "not UTF-8 from byte"),
    ("broken/odd-tool", 5, "not the name of a tool"),
    ("broken/tab-indent", 5, "not valid"),
    ("broken/twice-a-tool", 4, "listed twice"),
    ("broken/upper-case", 2, "lower-case words"),
    ("broken/wrong-folder", 2, "differs from its folder's"),
    ("zz/release-notes", 2, "is taken by"),
];

#[test]
fn exactly_the_broken_files_are_reported_with_line_and_reason() {
    let found = skills().gather().wait().unwrap();
    assert_eq!(found.skills.len(), 56);
    let problems: BTreeMap<String, _> = found
        .problems
        .iter()
        .map(|problem| {
            let folder = problem.path.parent().unwrap();
            let parts: Vec<_> = folder.iter().map(|part| part.to_string_lossy()).collect();
            (parts[parts.len() - 2..].join("/"), problem)
        })
        .collect();
    for (folder, line, words) in BROKEN {
        let problem = problems
            .get(*folder)
            .unwrap_or_else(|| panic!("{folder} passes"));
        assert!(problem.reason.contains(words), "{problem}");
        assert_eq!(problem.line, *line, "{problem}");
    }
    assert_eq!(problems.len(), BROKEN.len(), "{problems:#?}");
}

#[test]
fn front_matter_in_all_its_forms_says_the_same() {
    let found = skills().gather().wait().unwrap();
    let skill = |name: &str| {
        found
            .skills
            .iter()
            .find(|skill| skill.name == name)
            .unwrap()
    };
    // A list, a string, a flow list; folded and quoted; CRLF; a byte order mark.
    assert_eq!(
        skill("release-notes").allowed_tools,
        ["Bash(git log:*)", "Read"]
    );
    assert_eq!(skill("code-review").allowed_tools, ["Read", "Grep", "Glob"]);
    assert_eq!(skill("sql-tuning").allowed_tools, ["Bash(psql:*)"]);
    assert!(
        skill("code-review")
            .description
            .starts_with("Reviews a change for")
    );
    assert!(!skill("incident-report").body.contains('\r'));
    assert!(skill("unicode-check").body.contains("日本語"));
    assert!(
        skill("dependency-audit")
            .description
            .starts_with("Says what")
    );
}

#[test]
fn one_is_loaded_by_name_with_its_arguments() {
    let skills = skills();
    let text = skills
        .load("csv-cleaner", &["in.csv", "out.csv"])
        .wait()
        .unwrap();
    assert!(text.contains("dialect of `in.csv`") && text.contains("Write `out.csv`"));
    let error = skills.load("csv-cleaner", &["in.csv"]).wait().unwrap_err();
    assert_eq!(error.missing_arguments().unwrap().positions, [2]);
    assert!(skills.load("no-such", &[]).wait().unwrap_err().is_unknown());
}

#[test]
fn sync_async_and_parallel_callers_get_the_same() {
    let (skills, runtime) = (skills(), Adapter::new(ThreadEach));
    let waited = skills.gather().wait().unwrap();
    let awaited = runtime.block_on(async { skills.gather().await.unwrap() });
    let spawned = runtime.block_on(skills.gather().spawn()).unwrap().unwrap();
    let other = skills.clone();
    let in_a_task = runtime.spawn(async move { other.gather().await });
    let in_a_task = runtime.block_on(in_a_task).unwrap().unwrap();
    assert_eq!(waited, awaited);
    assert_eq!(waited, spawned);
    assert_eq!(waited, in_a_task);
}

#[test]
fn a_missing_folder_and_a_large_file_are_clear() {
    let nowhere = Skills::new(Adapter::new(ThreadEach), "no/such/folder");
    let error = nowhere.gather().wait().unwrap_err();
    assert!(error.to_string().contains("no/such/folder"), "{error}");
    let found = skills().size_limit(100).gather().wait().unwrap();
    assert!(
        found
            .problems
            .iter()
            .any(|problem| problem.reason.contains("the limit is 100"))
    );
}

/// A bundled file that is cut or changed anywhere gives a skill, or a problem at a place within the
/// file.
#[test]
fn damaged_files_never_stop_the_parser() {
    let paths = skills().discover().wait().unwrap();
    for path in paths.iter().step_by(5) {
        let bytes = fs::read(path).unwrap();
        for cut in (0..bytes.len().min(600)).step_by(3) {
            check(path, &bytes[..cut]);
            let mut changed = bytes[..bytes.len().min(700)].to_vec();
            changed[cut] = changed[cut].wrapping_add(37);
            check(path, &changed);
        }
    }
}

fn check(path: &Path, bytes: &[u8]) {
    if let Err(problem) = parse_bytes(path, bytes) {
        let lines = bytes.split(|b| *b == b'\n').count();
        assert!(
            (1..=lines.max(1)).contains(&problem.line),
            "{problem}: of {lines}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_skill_or_a_problem(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(Path::new("x/SKILL.md"), &bytes);
    }

    #[test]
    fn any_front_matter_gives_a_skill_or_a_problem(yaml in "[ -~\n]{0,200}", body in "[ -~\n]{0,80}") {
        check(Path::new("x/SKILL.md"), format!("---\n{yaml}\n---\n{body}").as_bytes());
    }

    #[test]
    fn what_is_written_is_what_is_read(
        name in "[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,8}){0,3}",
        description in "[A-Za-z][A-Za-z0-9 ]{0,60}[a-z]",
        body in "[A-Za-z#*][ -~]{0,80}[a-z]",
    ) {
        let text = format!("---\nname: \"{name}\"\ndescription: \"{description}\"\n---\n{body}\n");
        let path = Path::new("skills").join(&name).join("SKILL.md");
        let skill = parse_bytes(&path, text.as_bytes()).unwrap();
        prop_assert_eq!(skill.name, name);
        prop_assert_eq!(skill.description, description);
        prop_assert_eq!(skill.body, body);
    }
}
