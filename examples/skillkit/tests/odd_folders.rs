//! Folders with more in them than files.
#![cfg(unix)]

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
    process::Command,
};

use fourway::prelude::*;
use skillkit::{Collection, Skills, parse_bytes};

fn gather(root: &Path) -> Collection {
    Skills::new(fourway::default_runtime(), root)
        .gather()
        .wait()
        .unwrap()
}

/// One good skill, and what `add` puts beside it.
fn beside(add: impl FnOnce(&Path)) -> (tempfile::TempDir, Collection) {
    let root = tempfile::tempdir().unwrap();
    let good = root.path().join("good");
    fs::create_dir(&good).unwrap();
    let text = "---\nname: good\ndescription: Good.\n---\nBody.\n";
    fs::write(good.join("SKILL.md"), text).unwrap();
    add(root.path());
    let found = gather(root.path());
    assert_eq!(found.skills.len(), 1, "{found:?}");
    (root, found)
}

fn only_problem(found: &Collection, path: &str, words: &str) {
    let [problem] = &found.problems[..] else {
        panic!("{:?}", found.problems);
    };
    assert!(problem.path.ends_with(path), "{problem}");
    assert!(problem.reason.contains(words), "{problem}");
}

#[test]
fn a_dangling_link_does_not_hide_the_others() {
    let (_root, found) = beside(|root| symlink("nowhere", root.join("elsewhere")).unwrap());
    only_problem(&found, "elsewhere", "cannot be read");
    let (_root, found) = beside(|root| symlink("nowhere", root.join("SKILL.md")).unwrap());
    only_problem(&found, "SKILL.md", "cannot be read");
}

#[test]
fn links_that_go_round_end() {
    let (_root, found) = beside(|root| {
        symlink(root, root.join("good").join("up")).unwrap();
        symlink("two", root.join("one")).unwrap();
        symlink("one", root.join("two")).unwrap();
    });
    // The first is no problem: all that is in it was found. The other two lead nowhere.
    assert_eq!(found.problems.len(), 2, "{:?}", found.problems);
}

#[test]
fn a_pipe_is_not_waited_for() {
    let (_root, found) = beside(|root| {
        let made = Command::new("mkfifo").arg(root.join("SKILL.md")).status();
        assert!(made.unwrap().success());
    });
    only_problem(&found, "SKILL.md", "neither a file nor a folder");
}

#[test]
fn a_socket_and_a_folder_of_that_name_are_problems() {
    let (_root, found) = beside(|root| {
        drop(UnixListener::bind(root.join("SKILL.md")).unwrap());
    });
    only_problem(&found, "SKILL.md", "neither a file nor a folder");
    let (_root, found) = beside(|root| fs::create_dir(root.join("SKILL.md")).unwrap());
    only_problem(&found, "SKILL.md", "is a folder");
}

#[test]
fn the_parsers_words_name_no_second_line() {
    for yaml in ["name: \"open", "- a\n- list", "name: x\nname: y", "a: [1"] {
        let text = format!("---\n{yaml}\n---\nBody.\n");
        let problem = parse_bytes(Path::new("x/SKILL.md"), text.as_bytes()).unwrap_err();
        let reason = &problem.reason;
        assert!(!reason.contains("at line"), "{problem}");
        for word in ["Options", "Config", "::", "deserialize"] {
            assert!(!reason.contains(word), "{problem}");
        }
    }
}
