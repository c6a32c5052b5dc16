//! The dashboard, as its users see it: in headless Chromium, through its driver.
//!
//! Needs `chromedriver` and `chromium`, which `.ci/browser` installs; therefore it is behind the
//! feature `browser`. With `FOURWAY_SCREENSHOTS=FOLDER` it leaves pictures there.
#![cfg(unix)]

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the tests over HTTP have it as well"
)]
#[path = "../common/mod.rs"]
mod common;

use fourway_testing::browser::{Browser, ENTER, ESCAPE};
use serde_json::{Value, json};

use crate::common::{Service, endless, search, skill, until};

/// The state of the first job in the list.
const FIRST: &str = "return document.querySelector('#jobs tbody tr .state')?.textContent";

fn rows(browser: &Browser) -> Vec<String> {
    let script = "return [...document.querySelectorAll('#jobs .name')].map(n => n.textContent)";
    let names = browser.script(script);
    let names = names.as_array().unwrap().iter();
    names
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_job_is_submitted_watched_and_cancelled() {
    let service = Service::start(&[]);
    let browser = Browser::open(&service.url);
    browser.until("return document.getElementById('live').textContent", "live");
    browser.fill("#value", "1000000000");
    browser.click("#submit");
    browser.until(FIRST, "running");

    // It moves, without a reload of the page.
    let progress = "return document.querySelector('#jobs progress').value";
    let first = browser.number(progress);
    browser.until_above(progress, first);
    browser.click("#jobs .name button");
    browser.until(
        "return document.getElementById('d-state')?.textContent",
        "running",
    );
    let detailed = "return document.getElementById('d-progress').value";
    let first = browser.number(detailed);
    browser.until_above(detailed, first);
    browser.picture("detail-running");

    browser.click("#d-cancel");
    browser.until(
        "return document.getElementById('d-state')?.textContent",
        "cancelled",
    );
    browser.until(FIRST, "cancelled");
    browser.until("return document.getElementById('d-cancel').disabled", true);
    let job = service.get("/jobs").json()["jobs"][0].clone();
    assert_eq!(job["state"], "cancelled");
}

#[test]
fn a_job_that_fails_says_why_and_is_retried() {
    let service = Service::start(&[]);
    let browser = Browser::open(&service.url);
    browser.script("document.getElementById('kind').value = 'index'; document.getElementById('kind').dispatchEvent(new Event('change'))");
    browser.fill("#value", "later/skills");
    browser.click("#submit");
    browser.until(FIRST, "failed");
    browser.click("#jobs .name button");
    browser.until_contains(
        "return document.getElementById('d-error')?.textContent",
        "later/skills",
    );
    browser.until_contains(
        "return document.getElementById('d-times')?.textContent",
        "attempt 1",
    );
    browser.picture("detail-failed");

    skill(&service.root.path().join("later"), "first");
    browser.click("#d-retry");
    browser.until(
        "return document.getElementById('d-state')?.textContent",
        "completed",
    );
    browser.until_contains(
        "return document.getElementById('d-result')?.textContent",
        "Does it first",
    );
    browser.until_contains(
        "return document.getElementById('d-times')?.textContent",
        "attempt 2",
    );
}

#[test]
fn all_that_failed_are_retried_at_once() {
    let service = Service::start(&[]);
    let later = json!({"work": {"kind": "index", "folder": "later/skills"}});
    let ids: Vec<_> = (0..3).map(|_| service.submit(&later)).collect();
    for id in &ids {
        service.until_state(id, "failed");
    }
    skill(&service.root.path().join("later"), "first");
    let browser = Browser::open(&service.url);
    until("all to be listed", || rows(&browser).len() == 3);
    browser.click("#retry-all");
    browser.until(
        "return document.getElementById('notice').textContent",
        "3 jobs run again.",
    );
    for id in &ids {
        service.until_state(id, "completed");
    }
    browser.until(FIRST, "completed");
}

#[test]
fn the_list_has_filters_and_pages() {
    let service = Service::start(&[]);
    let mut last = String::new();
    for n in 0..45 {
        let mut job = search(100);
        job["name"] = format!("number {n:02}").into();
        last = service.submit(&job);
    }
    service.until_state(&last, "completed");
    let missing = json!({"work": {"kind": "pack", "folder": "missing"}});
    service.until_state(&service.submit(&missing), "failed");
    let browser = Browser::open(&service.url);
    until("the first page", || {
        rows(&browser)
            .first()
            .is_some_and(|name| name == "pack missing")
    });
    assert_eq!(rows(&browser).len(), 20);
    browser.click("#next");
    until("the second page", || {
        rows(&browser)
            .first()
            .is_some_and(|name| name == "number 25")
    });
    browser.click("#next");
    until("the third page", || rows(&browser).len() == 6);
    browser.until("return document.getElementById('next').disabled", true);
    browser.click("#back");
    until("the second page", || {
        rows(&browser)
            .first()
            .is_some_and(|name| name == "number 25")
    });

    browser.fill("#f-name", "number 07");
    until("one by its name", || rows(&browser) == ["number 07"]);
    browser.fill("#f-name", "");
    // By the tile of a state, and the same tile again.
    browser.click("#counts [data-key=failed] button");
    until("those that failed", || rows(&browser) == ["pack missing"]);
    browser.click("#counts [data-key=failed] button");
    until("all again", || rows(&browser).len() == 20);
    browser.fill("#f-name", "nothing like it");
    browser.until("return document.getElementById('none').hidden", false);
}

#[test]
fn a_queue_is_paused_and_resumed() {
    let service = Service::start(&[]);
    let browser = Browser::open(&service.url);
    let queue = "return document.querySelector('#queues [data-key=search] td').textContent";
    browser.until(queue, "search");
    browser.click("#queues [data-key=search] button");
    browser.until(queue, "search (paused)");
    let id = service.submit(&search(10));
    browser.until(FIRST, "queued");
    browser.click("#queues [data-key=search] button");
    browser.until(FIRST, "completed");
    browser.click("#pause-all");
    browser.until(
        "return document.getElementById('pause-all').textContent",
        "Resume all",
    );
    browser.click("#pause-all");
    browser.until(
        "return document.getElementById('pause-all').textContent",
        "Pause all",
    );
    assert_eq!(service.job(&id)["state"], "completed");
}

#[test]
fn who_holds_a_job_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("jobs.db").display());
    let service = Service::start(&["--store", &store, "--name", "wanda"]);
    let browser = Browser::open(&service.url);
    browser.until("return document.getElementById('live').textContent", "live");
    browser.until("return document.getElementById('working').hidden", true);
    let id = service.submit(&endless());
    browser.until(
        "return document.querySelector('#workers td')?.textContent.startsWith('wanda')",
        true,
    );
    let now = "return document.getElementById('working-now').textContent";
    browser.until(now, "1 of 1 hold jobs");
    assert_eq!(
        browser.script("return document.getElementById('working').hidden"),
        false
    );
    browser.picture("workers");
    service.delete(&format!("/jobs/{id}"));
    browser.until(
        "return document.querySelector('#workers button')",
        Value::Null,
    );
}

#[test]
fn what_a_store_cannot_do_is_not_offered() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("jobs.db").display());
    let service = Service::start(&["--store", &store]);
    let browser = Browser::open(&service.url);
    browser.until("return document.getElementById('live').textContent", "live");
    for id in ["pausing", "retry-all", "order"] {
        browser.until(
            &format!("return document.getElementById('{id}').offsetParent === null"),
            true,
        );
    }
    let id = service.submit(&search(10));
    service.until_state(&id, "completed");
    service.submit(&json!({"work": {"kind": "index", "folder": "skills"}}));
    browser.until(
        "return document.querySelectorAll('#jobs tbody tr').length",
        2,
    );
    browser.script(
        "const queue = document.getElementById('f-queue'); queue.value = 'search'; \
         queue.dispatchEvent(new Event('input', { bubbles: true }))",
    );
    browser.until(
        "return document.querySelectorAll('#jobs tbody tr').length",
        1,
    );
    // One job can be run again, unless it has completed.
    browser.click("#jobs .name button");
    let offered = "const b = document.getElementById('d-retry'); return b && [b.offsetParent !== null, b.disabled]";
    browser.until(offered, json!([true, true]));
}

#[test]
fn a_job_in_a_store_is_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("jobs.db").display());
    let service = Service::start(&["--store", &store]);
    let id = service.submit(&endless());
    service.until_state(&id, "running");
    service.delete(&format!("/jobs/{id}"));
    service.until_state(&id, "cancelled");
    let browser = Browser::open(&service.url);
    browser.until(
        "return document.querySelectorAll('#jobs tbody tr').length",
        1,
    );
    browser.click("#jobs .name button");
    browser.until("return document.getElementById('d-retry')?.disabled", false);
    browser.click("#d-retry");
    let job = service.until(&id, |job| job["state"] == "running");
    assert_eq!(job["attempt"], 2);
    service.delete(&format!("/jobs/{id}"));
}

#[test]
fn what_comes_again_is_seen() {
    let service = Service::start(&["--schedule", "* * * * * * search=1000"]);
    let browser = Browser::open(&service.url);
    browser.until(
        "return document.querySelector('#schedules .name span')?.textContent",
        "* * * * * * search below 1000",
    );
    let last = "return document.querySelector('#schedules button')?.dataset.job ?? ''";
    browser.until_so(last, |job| job != "");
    browser.picture("schedules");
    browser.click("#schedules button");
    browser.until(
        "return document.getElementById('d-state')?.textContent",
        "completed",
    );
    browser.until_contains(
        "return document.getElementById('d-facts')?.textContent",
        "schedule* * * * * * search below 1000",
    );
    assert_eq!(browser.errors(), Vec::<Value>::new());
}

#[test]
fn it_is_used_by_keys_and_read_aloud() {
    let service = Service::start(&[]);
    for _ in 0..3 {
        service.post("/run", &search(100));
    }
    let browser = Browser::open(&service.url);
    until("the jobs", || rows(&browser).len() == 3);
    let focused = "return document.activeElement.id || document.activeElement.textContent";
    browser.keys("/");
    browser.until(focused, "f-name");
    browser.keys(ESCAPE);
    browser.keys("j");
    browser.until(focused, "search below 100");
    browser.keys(ENTER);
    browser.until("return document.getElementById('detail').open", true);
    browser.until_contains(
        "return document.getElementById('d-result')?.textContent",
        "97",
    );
    browser.keys(ESCAPE);
    browser.until("return document.getElementById('detail').open", false);
    // The focus is where it was.
    browser.until(focused, "search below 100");
    browser.keys("n");
    browser.until(focused, "value");

    // All controls have a name, and so have the plots and progress.
    let used = "button, input, select, a, progress:not([hidden]), svg[role=img], table, section";
    for (label, what) in browser.labels(used) {
        assert!(
            !label.trim().is_empty() || what.starts_with("<table"),
            "no name: {what}"
        );
    }
    let duplicates = "const ids = [...document.querySelectorAll('[id]')].map(e => e.id); return ids.filter((id, at) => ids.indexOf(id) !== at)";
    assert_eq!(browser.script(duplicates), json!([]));
    assert_eq!(browser.script("return document.documentElement.lang"), "en");
}

#[test]
fn it_can_be_read_in_light_in_the_dark_and_on_a_phone() {
    let service = Service::start(&["--schedule", "@yearly search=10"]);
    let mut failing = json!({"work": {"kind": "index", "folder": "missing"}});
    for n in 0..30 {
        failing["name"] =
            format!("a job with a rather long name, as they happen to be, number {n}").into();
        service.submit(&if n % 5 == 0 {
            failing.clone()
        } else {
            search(5000 * n + 10)
        });
    }
    let mut delayed = search(10);
    delayed["delay_ms"] = 600_000.into();
    service.submit(&delayed);
    let stopped = service.submit(&delayed);
    service.delete(&format!("/jobs/{stopped}"));
    let mut long = endless();
    long["timeout_ms"] = 300.into();
    service.until_state(&service.submit(&long), "timed_out");
    service.submit(&endless());
    let browser = Browser::open(&service.url);
    browser.until(FIRST, "running");
    browser.until("return document.querySelectorAll('#rate path').length", 2);
    for (colours, width, name) in [
        ("light", 1280, "light"),
        ("dark", 1280, "dark"),
        ("light", 390, "phone"),
        ("dark", 320, "small-phone"),
    ] {
        browser.shown(colours, width);
        // Nothing overflows to the right.
        let fits = format!("return document.documentElement.scrollWidth <= {width}");
        browser.until(&fits, true);
        let (contrast, text) = browser.least_contrast();
        assert!(contrast >= 4.5, "{name}: {contrast} of {text}");
        browser.picture(name);
        browser.click("#jobs .name button");
        browser.until(
            "return document.getElementById('d-state')?.textContent",
            "running",
        );
        browser.until(&fits, true);
        let (contrast, text) = browser.least_contrast();
        assert!(contrast >= 4.5, "{name}: {contrast} of {text}");
        browser.picture(&format!("{name}-detail"));
        browser.keys(ESCAPE);
        browser.until("return document.getElementById('detail').open", false);
    }
    assert_eq!(browser.errors(), Vec::<Value>::new());
}

#[test]
fn the_operations_can_be_tried() {
    let service = Service::start(&[]);
    let browser = Browser::open(&format!("{}/docs", service.url));
    let run = "return [...document.querySelectorAll('summary')].find(s => s.textContent.startsWith('POST/run '))";
    browser.until_so(run, |found| !found.is_null());
    browser.script(&format!("{run}.parentElement.open = true"));
    browser.script(&format!(
        "{run}.parentElement.querySelector('form button').click()"
    ));
    let answer = format!("{run}.parentElement.querySelector('pre')?.textContent ?? ''");
    browser.until_contains(&answer, "837799");
    browser.picture("operations");
    assert_eq!(browser.errors(), Vec::<Value>::new());
}

#[test]
fn a_token_is_asked_for_once() {
    let service = Service::start(&["--token", "secret"]);
    let browser = Browser::open(&service.url);
    browser.until("return document.getElementById('ask').open", true);
    browser.fill("#token", "secret");
    browser.click("#ask button");
    browser.until("return document.getElementById('live').textContent", "live");
    browser.fill("#value", "100");
    browser.click("#submit");
    browser.until(FIRST, "completed");
    assert_eq!(
        browser.script("return document.getElementById('ask').open"),
        false
    );
}

#[test]
fn it_says_when_the_service_is_gone() {
    let service = Service::start(&[]);
    let browser = Browser::open(&service.url);
    browser.until("return document.getElementById('live').textContent", "live");
    service.terminate();
    assert!(service.wait().success());
    browser.until(
        "return document.getElementById('live').textContent",
        "not connected",
    );
}

#[test]
fn it_is_live_again_once_requests_succeed_again() {
    let service = Service::start(&[]);
    let browser = Browser::open(&service.url);
    let live = "return document.getElementById('live').textContent";
    browser.until(live, "live");
    // The stream of events stays open.
    browser.script(
        "window.works = window.fetch;
         window.fetch = () => Promise.reject(new TypeError('cut off'));",
    );
    browser.until(live, "not connected");
    browser.script("window.fetch = window.works;");
    browser.until(live, "live");
}

/// The values of a plot, point by point, by the labels of its own grid.
fn plotted(browser: &Browser, plot: &str, line: usize) -> Vec<f64> {
    let script = format!(
        "const svg = document.getElementById('{plot}');
         const grid = [...svg.querySelectorAll('line')].map(line => +line.getAttribute('y1'));
         const [zero, , high] = grid;
         const label = svg.querySelectorAll('text')[2]?.textContent ?? '0';
         const most = parseFloat(label) * (label.endsWith('k') ? 1000 : 1);
         const path = svg.querySelectorAll('path')[{line}]?.getAttribute('d') ?? '';
         return [...path.matchAll(/[ML]([\\d.]+) ([\\d.]+)/g)]
             .map(point => most * (zero - point[2]) / (zero - high));"
    );
    let points = browser.script(&script);
    let points = points.as_array().unwrap().iter();
    points.map(|point| point.as_f64().unwrap()).collect()
}

/// The plots show the service's counts: as many jobs, and their latencies.
#[test]
fn the_plots_show_what_has_happened() {
    let service = Service::start(&[]);
    let browser = Browser::open(&service.url);
    for below in 0..7 {
        service.submit(&search(100 + below));
    }
    let missing = json!({"work": {"kind": "index", "folder": "nowhere"}});
    for _ in 0..2 {
        let id = service.submit(&missing);
        service.until_state(&id, "failed");
    }
    let sum = |line| plotted(&browser, "rate", line).iter().sum::<f64>().round();
    until("the throughput", || (sum(0), sum(1)) == (7.0, 2.0));

    let history = service.get("/history").json();
    let most = |of: &str| {
        let seconds = history.as_array().unwrap().iter();
        let values = seconds.filter_map(|second| second[of].as_f64());
        values.fold(0.0, f64::max)
    };
    for (line, of) in [(0, "p50"), (1, "p99")] {
        let points = plotted(&browser, "latency", line);
        // Each second in which a job ended is a point, and no other.
        let seconds = history.as_array().unwrap().iter();
        let ended = seconds.filter(|second| second[of].is_number()).count();
        assert_eq!(points.len(), ended, "{of}");
        let highest = points.into_iter().fold(0.0, f64::max);
        // A tenth of a pixel, of some hundred.
        let blur = (most("p99") * 2.0).max(1.0) / 500.0;
        assert!(
            (highest - most(of)).abs() <= blur,
            "{of}: {highest}, {history}"
        );
    }
}
