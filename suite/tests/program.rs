//! The main function of a test binary, run as a process: this program, when its environment names
//! subjects.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, ExitCode, Output},
    time::Duration,
};

use fourway_suite::{Case, Report, Status, Subject, Suite};

const SUBJECT: &str = "FOURWAY_SUITE_TEST_SUBJECT";

fn main() -> ExitCode {
    if let Ok(name) = env::var(SUBJECT) {
        return suite(&name).main();
    }
    // Cargo's arguments are for the program below, which is not run by hand.
    runs_as_tests();
    writes_reports();
    refuses_other_arguments();
    println!("the program does what its arguments say");
    ExitCode::SUCCESS
}

fn suite(name: &str) -> Suite {
    let sound = Case::new("AA-1.1", "it is sound", || ());
    let broken = name == "broken";
    let second = Case::new("AA-1.2", "it is not broken", move || {
        assert!(!broken, "it is")
    })
    .why("nobody wants it broken");
    let third = Case::new("AA-1.3", "it is not run", || panic!("it is run"))
        .unsupported(Some(String::from("it lacks what it needs")));
    let fourth = Case::new("AA-1.4", "it cannot be had", || panic!("it is run"))
        .unsupported(None)
        .not_here(Some(String::from("the machine lacks what it needs")));
    let subject = Subject::new(name, Duration::from_secs(60))
        .capabilities(["durable"])
        .cases([sound, second, third, fourth]);
    Suite::new([subject])
        .check("what is recorded", move || {
            if broken {
                Err(String::from("something else is recorded"))
            } else {
                Ok(())
            }
        })
        .capabilities(["durable", "delay"])
        .title("a test")
        .rules([("AA-1", "what is sound")])
        .threads(1)
}

fn program(subject: &str, args: &[&str]) -> Output {
    let mut program = Command::new(env::current_exe().unwrap());
    program.env(SUBJECT, subject).args(args).output().unwrap()
}

fn runs_as_tests() {
    let sound = program("sound", &[]);
    let text = String::from_utf8(sound.stdout).unwrap();
    assert!(sound.status.success(), "{text}");
    assert!(text.contains("sound AA-1.2 it is not broken"), "{text}");
    assert!(text.contains("3 passed; 0 failed; 2 ignored"), "{text}");

    let one = program("broken", &["AA-1.1"]);
    assert!(one.status.success(), "a filter");

    let broken = program("broken", &[]);
    let text = String::from_utf8(broken.stdout).unwrap();
    assert!(!broken.status.success(), "{text}");
    assert!(text.contains("it is\nnobody wants it broken"), "{text}");
    assert!(text.contains("something else is recorded"), "{text}");
}

fn writes_reports() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (first, both, table) = (file("first.json"), file("both.json"), file("table.md"));
    let (page, junit) = (file("page.html"), file("junit.xml"));
    let sound = program("sound", &["report", "--json", &first]);
    assert!(sound.status.success());
    let broken = [
        "report",
        "--with",
        &first,
        "--json",
        &both,
        "--markdown",
        &table,
        "--html",
        &page,
        "--junit",
        &junit,
    ];
    let broken = program("broken", &broken);
    assert!(!broken.status.success());
    let printed = String::from_utf8(broken.stdout).unwrap();
    let table = fs::read_to_string(table).unwrap();
    assert_eq!(
        table,
        "| capability | sound | broken |\n| --- | :-: | :-: |\n\
         | durable | ✓ | ✓ |\n| delay | – | – |\n\n\
         | case | sound | broken |\n| --- | :-: | :-: |\n\
         | AA-1.1 it is sound | ✓ | ✓ |\n| AA-1.2 it is not broken | ✓ | ✗ |\n\
         | AA-1.3 it is not run | – | – |\n| AA-1.4 it cannot be had | ○ | ○ |\n"
    );
    assert_eq!(printed, table + "\nbroken AA-1.2 it is not broken\nit is\n");
    let page = fs::read_to_string(page).unwrap();
    for part in [
        "<title>a test</title>",
        "<th scope=\"rowgroup\" colspan=\"3\">AA-1 what is sound</th>",
        "<b class=\"unsupported\" title=\"unsupported\">○</b>",
        "the machine lacks what it needs",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let junit = fs::read_to_string(junit).unwrap();
    assert!(
        junit.contains("<testsuites name=\"a test\" tests=\"8\""),
        "{junit}"
    );
    let both = Report::from_json(&fs::read_to_string(both).unwrap()).unwrap();
    assert_eq!(both.subjects[1].cases[1].status, Status::Fail);
}

fn refuses_other_arguments() {
    for args in [&["report", "--xml", "FILE"][..], &["report", "--json"]] {
        let refused = program("sound", args);
        assert_eq!(refused.status.code(), Some(2));
        let text = String::from_utf8(refused.stderr).unwrap();
        assert!(text.contains("usage: report"), "{text}");
    }
    let missing = program("sound", &["report", "--with", "nowhere/to/be/found"]);
    assert!(!missing.status.success());
    let text = String::from_utf8(missing.stderr).unwrap();
    assert!(text.contains("nowhere/to/be/found"), "{text}");
}
