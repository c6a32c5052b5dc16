//! The neutrality check on crates of this workspace, through cargo itself.

use std::path::PathBuf;

use fourway_conformance::neutral;

fn member(folder: &str) -> PathBuf {
    let suite = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    suite
        .parent()
        .expect("the suite is a folder of the workspace")
        .join(folder)
}

#[test]
fn the_core_names_no_runtime() {
    neutral::assert_neutral(member("core"));
}

#[test]
fn an_adapter_names_its_runtime() {
    let error = neutral::check(member("adapters/tokio")).unwrap_err();
    assert!(error.is_not_neutral(), "{error}");
    let path = error.path_to("tokio");
    assert_eq!(path.len(), 2, "{error}");
    assert!(path[0].starts_with("fourway-tokio "), "{error}");
    assert!(path[1].starts_with("tokio "), "{error}");
    let executors: Vec<_> = error.executors().map(|executor| executor.name).collect();
    assert_eq!(executors, ["tokio"]);
}

#[test]
#[should_panic(expected = "the crate names a runtime")]
fn an_assertion_fails_with_the_text() {
    neutral::assert_neutral(member("adapters/smol"));
}

#[test]
fn a_folder_without_a_package_is_not_a_pass() {
    let error = neutral::check(member("no-such-folder")).unwrap_err();
    assert!(!error.is_not_neutral(), "{error}");
    assert!(error.to_string().contains("cargo metadata"), "{error}");
}
