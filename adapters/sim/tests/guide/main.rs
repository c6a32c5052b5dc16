//! The program of the guide's chapter on simulation, in both its states; and what the chapter says
//! of it. `FOURWAY_SIM_UPDATE=1` draws its picture anew.

mod kept;
mod lost;

use std::{env, fs, path::Path, time::Duration};

use fourway_sim::{Builder, Check, Faults, Sim};

const MS: Duration = Duration::from_millis(1);

fn late() -> Builder {
    Sim::builder().faults(Faults::none().slow(100, 100 * MS))
}

#[test]
fn ordinary_tests_pass() {
    for (_, rt) in fourway_testing::runtimes() {
        lost::all_come_back(rt);
    }
}

#[test]
fn so_do_schedules_alone() {
    Check::default().run(lost::all_come_back::<Sim>);
}

#[test]
fn with_faults_it_is_found_as_the_chapter_says() {
    let folder = env::temp_dir().join(format!("fourway-sim-guide-{}", std::process::id()));
    let check = Check::default().with(late()).directory(&folder);
    let failure = check.try_run(lost::all_come_back::<Sim>).unwrap_err();
    let report = failure.to_string();
    let page = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .find(|text| text.contains("<svg"))
        .expect("a page is written");
    fs::remove_dir_all(&folder).unwrap();
    let (from, to) = (page.find("<svg").unwrap(), page.find("</svg>").unwrap());
    let picture = format!("{}</svg>\n", &page[from..to]);

    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide");
    if env::var_os("FOURWAY_SIM_UPDATE").is_some() {
        fs::write(guide.join("simulation.svg"), &picture).unwrap();
        println!("{report}");
    }
    let drawn = fs::read_to_string(guide.join("simulation.svg")).unwrap();
    assert_eq!(drawn, picture, "draw it anew, with FOURWAY_SIM_UPDATE=1");
    let chapter = fs::read_to_string(guide.join("simulation.md")).unwrap();
    for line in report.lines().filter(|line| !line.starts_with("written")) {
        let line = line.split(" cargo test").next().unwrap_or(line);
        let line = line.replace("adapters/sim/tests/guide/", "src/");
        assert!(chapter.contains(&line), "the chapter does not say\n{line}");
    }
    for (text, name) in [
        (include_str!("lost.rs"), "lost"),
        (include_str!("kept.rs"), "kept"),
    ] {
        let from = text.find("    pub(crate) async fn query").unwrap();
        let to = text[from..].find("\n    }\n").unwrap() + "\n    }\n".len();
        let query = &text[from..from + to];
        let query = query.replace("pub(crate) ", "");
        assert!(
            chapter.contains(&query),
            "the chapter's `{name}` is another\n{query}"
        );
    }
}

#[test]
fn mended_it_passes() {
    Check::default()
        .seeds(1000)
        .with(late())
        .run(kept::all_come_back::<Sim>);
}
