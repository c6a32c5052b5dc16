//! The program itself: it measures, stores, plots and writes the page.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn benches(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_fourway-benches"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    output
}

#[test]
fn a_page_is_the_same_from_stored_figures() {
    let folder = folder("stored");
    let shown = ["--svg", "plots", "--page", "page.md"];
    let measured = [
        "ping-pong",
        "--quick",
        "--rounds",
        "2",
        "--json",
        "figures.json",
    ];
    benches(&folder, &[&measured[..], &shown[..]].concat());
    let page = fs::read_to_string(folder.join("page.md")).unwrap();
    assert!(page.contains("### ping-pong"), "{page}");
    assert!(
        page.contains("![Yield and wake](plots/yield-and-wake.svg)"),
        "{page}"
    );
    let plot = fs::read_to_string(folder.join("plots/yield-and-wake.svg")).unwrap();
    assert!(
        plot.starts_with("<svg") && plot.contains("async-executor"),
        "{plot}"
    );

    fs::remove_file(folder.join("page.md")).unwrap();
    benches(&folder, &[&["--from", "figures.json"], &shown[..]].concat());
    assert_eq!(fs::read_to_string(folder.join("page.md")).unwrap(), page);
}

#[test]
fn child_processes_measure_memory() {
    let folder = folder("memory");
    let arguments = [
        "a runtime",
        "--quick",
        "--rounds",
        "1",
        "--json",
        "figures.json",
    ];
    let output = benches(&folder, &arguments);
    let table = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(table.contains("a runtime: heap"), "{table}\n{errors}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let folder = folder("skipped");
    let arguments = [
        "sync → async",
        "--rounds",
        "1",
        "--python",
        "no-such-python",
    ];
    let output = benches(&folder, &arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("skipped: SmartAsync: sync → async"),
        "{errors}"
    );
    assert!(errors.contains("pip install smartasync"), "{errors}");
}

#[test]
fn the_readme_says_what_was_measured() {
    let read = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        fs::read_to_string(path).unwrap()
    };
    let (readme, page) = (read("README.md"), read("docs/BENCHMARKS.md"));
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    let (_, section) = readme.split_once("## How fast it is").unwrap();
    let mut table = section.lines().skip_while(|line| !line.starts_with('|'));
    let peers = cells(table.next().unwrap());
    let mut checked = 0;
    for row in table.skip(1).take_while(|line| line.starts_with('|')) {
        let row = cells(row);
        for (peer, said) in peers.iter().zip(&row).skip(1) {
            if said.is_empty() {
                continue;
            }
            let measured = page.lines().map(cells).any(|line| {
                line.len() == 6
                    && line[1].starts_with(&row[0])
                    && line[2] == "fourway"
                    && line[3] == *peer
                    && line[5].trim_matches('*').split(',').next() == Some(said)
            });
            assert!(measured, "{}: {said} of {peer} is not in the page", row[0]);
            checked += 1;
        }
    }
    assert!(checked > 5, "the table is not where it was");
}
