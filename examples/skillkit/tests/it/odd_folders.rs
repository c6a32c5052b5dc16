//! Folders that contain more than files.

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
    process::Command,
};

use fourway::prelude::*;
use skillkit::{Collection, Skills};

fn gather(root: &Path) -> Collection {
    Skills::new(fourway::default_runtime(), root)
        .gather()
        .wait()
        .unwrap()
}

/// One good skill, and the entries that `add` puts beside it.
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
    // The first is not a problem: everything in it was found. The other two are dangling.
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

/// Reading the first would wait for a message of the kernel.
#[cfg(target_os = "linux")]
#[test]
fn what_the_kernel_makes_up_is_not_read() {
    for path in ["/proc/kmsg", "/proc/self/mem", "/proc/self/status"] {
        let (_root, found) = beside(|root| symlink(path, root.join("SKILL.md")).unwrap());
        only_problem(&found, "SKILL.md", "must begin with");
    }
}

#[test]
fn a_folder_with_two_names_is_searched_once_and_by_its_own() {
    let (root, found) = beside(|root| {
        symlink(root.join("good"), root.join("another")).unwrap();
        symlink(root.join("good/SKILL.md"), root.join("file")).unwrap();
    });
    assert_eq!(found.problems, []);
    let paths = skillkit::discover(root.path()).unwrap();
    assert_eq!(paths, [root.path().join("good/SKILL.md")]);
    // Walking one by one finds the same.
    let walked: Vec<_> = skillkit::walk(root.path()).map(Result::unwrap).collect();
    assert_eq!(walked, paths);
}

/// Many paths lead to each folder; each path would be a separate search.
#[test]
fn a_web_of_links_is_searched_in_no_time() {
    let (_root, found) = beside(|root| {
        for from in 0..20 {
            let folder = root.join(format!("folder-{from}"));
            fs::create_dir(&folder).unwrap();
            for to in 0..20 {
                let other = root.join(format!("folder-{to}"));
                symlink(other, folder.join(format!("to-{to}"))).unwrap();
            }
        }
    });
    assert_eq!(found.problems, []);
}

#[test]
fn a_file_instead_of_a_folder_is_an_error_that_names_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = skillkit::discover(file.path()).unwrap_err().to_string();
    let path = file.path().to_str().unwrap();
    assert_eq!(error.matches(path).count(), 1, "{error}");
}
