//! The page, as its users see it: in headless Chromium, through its driver.
//!
//! Needs `chromedriver` and `chromium`, which `.ci/browser` installs; therefore it is behind the
//! feature `browser`. With `FOURWAY_SCREENSHOTS=FOLDER` it leaves pictures there.

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the tests over HTTP have it as well"
)]
mod common;

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use common::Program;
use fourway_testing::browser::{ALT, Browser, CONTROL, DOWN, ENTER, ESCAPE, RELEASE, SHIFT, UP};
use serde_json::{Value, json};

/// A part of a cell, as text; nothing while it is not shown.
fn part(cell: usize, part: &str) -> String {
    format!(
        "const p = document.querySelectorAll('.cell')[{cell}].querySelector('{part}'); \
         return p.hidden ? '' : p.textContent"
    )
}

const STATE: &str = "return document.getElementById('state').textContent";
/// Which cell has the focus, from 1.
const FOCUS: &str = "return document.activeElement.getAttribute('aria-label')";

fn open(program: &Program) -> Browser {
    let browser = Browser::open(&program.address());
    browser.until(STATE, "ready");
    browser
}

#[test]
fn cells_of_both_kinds_share_a_namespace_by_keys_alone() {
    let program = Program::start(&[]);
    let browser = open(&program);
    // The focus is where one types.
    browser.until(FOCUS, "Code of cell 1");
    browser.keys("let x = await sleep(10).then(() => 20)");
    browser.keys(&format!("{SHIFT}{ENTER}{RELEASE}"));
    browser.until(FOCUS, "Code of cell 2");
    browser.keys("x + 1");
    browser.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    browser.until(&part(1, ".value"), "21");
    browser.until(&part(0, ".number"), "1, async");
    browser.until(&part(1, ".number"), "2, sync");
    // It stays where it was run.
    browser.until(FOCUS, "Code of cell 2");
    // A cell of several lines.
    browser.keys(&format!("{SHIFT}{ENTER}{RELEASE}"));
    browser.until(FOCUS, "Code of cell 3");
    browser.keys(&format!(
        "const f = (n) => {{{ENTER}return n * x{ENTER}}}{ENTER}await f(2)"
    ));
    browser.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    browser.until(&part(2, ".value"), "40");
    browser.until(
        "return document.querySelectorAll('.cell textarea')[2].rows",
        4,
    );
    browser.keys(&format!("{ALT}{UP}{RELEASE}"));
    browser.until(FOCUS, "Code of cell 2");
    browser.keys(&format!("{ALT}{DOWN}{RELEASE}"));
    browser.until(FOCUS, "Code of cell 3");
    browser.picture("cells");
    assert_eq!(browser.errors(), Vec::<Value>::new());
}

#[test]
fn output_is_live_and_a_button_stops_what_runs() {
    let program = Program::start(&[]);
    let browser = open(&program);
    browser.keys("let n = 0; for (;;) { print('tick', n++); sleep(20) }");
    browser.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    browser.until_contains(&part(0, ".output"), "tick 3\n");
    browser.until(STATE, "running");
    browser.until_contains(&part(0, ".output"), "tick 9\n");
    browser.picture("running");
    browser.click("#stop");
    browser.until_contains(&part(0, ".error"), "Interrupted");
    browser.until(STATE, "ready");
    browser.until("return document.getElementById('stop').disabled", true);

    // By a key; and code that never awaits.
    browser.click("#add");
    browser.until(FOCUS, "Code of cell 2");
    for code in [
        "while (true) {}",
        "await null; while (true) {}",
        "await sleep(1e9)",
    ] {
        browser.fill(".cell:nth-child(2) textarea", code);
        browser.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
        browser.until(STATE, "running");
        browser.keys(ESCAPE);
        browser.until_contains(&part(1, ".error"), "Interrupted");
        browser.until(STATE, "ready");
    }
    // Also the executions in line; and the namespace is kept.
    browser.fill(".cell:nth-child(2) textarea", "while (true) {}");
    browser.keys(&format!("{SHIFT}{ENTER}{RELEASE}"));
    browser.until(FOCUS, "Code of cell 3");
    browser.keys("n > 9");
    browser.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    browser.click("#stop");
    browser.until_contains(&part(2, ".error"), "Interrupted");
    browser.until(STATE, "ready");
    browser.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    browser.click(".cell:nth-child(3) .run");
    browser.until(&part(2, ".value"), "true");
    assert_eq!(browser.errors(), Vec::<Value>::new());
}

#[test]
fn code_asks_and_errors_show_where() {
    let program = Program::start(&[]);
    let browser = open(&program);
    browser.keys("'hello ' + input('Who? ')");
    browser.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    browser.until(&part(0, ".prompt"), "Who? ");
    // The field has the focus, and gives it back.
    browser.until(
        "return document.activeElement.closest('.ask') !== null",
        true,
    );
    browser.keys(&format!("Ada{ENTER}"));
    browser.until(&part(0, ".value"), "\"hello Ada\"");
    browser.until(FOCUS, "Code of cell 1");
    browser.fill(".cell textarea", "1;\nfunction f() { await 1 }");
    browser.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    browser.until_contains(&part(0, ".error"), "line 2");
    browser.until_contains(&part(0, ".error"), "async function");
    browser.until_contains(&part(0, ".error"), "^");
    // Markup in code, output and values is text.
    browser.fill(".cell textarea", "print('<img src=x>'); '<b>bold</b>'");
    browser.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    browser.until(&part(0, ".value"), "\"<b>bold</b>\"");
    browser.until(&part(0, ".output"), "<img src=x>\n");
    assert_eq!(
        browser.script("return document.querySelectorAll('.cell img, .cell b').length"),
        0
    );
    // Work left behind goes on, and its output is shown.
    browser.fill(".cell textarea", "setTimeout(() => print('later'), 50); 0");
    browser.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    browser.until(&part(0, ".output"), "later\n");
    assert_eq!(browser.errors(), Vec::<Value>::new());
}

#[test]
fn a_fresh_session_and_a_reload() {
    let program = Program::start(&[]);
    let browser = open(&program);
    // A copied address does not contain the token.
    let address = format!("http://{}/", program.host);
    assert_eq!(browser.script("return location.href"), address.as_str());
    browser.keys("let x = 1; x");
    browser.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    browser.until(&part(0, ".value"), "1");
    browser.click("#reset");
    browser.until(&part(0, ".number"), "new");
    browser.click(".cell .run");
    // No second declaration: it is another session.
    browser.until(&part(0, ".number"), "1, sync");
    browser.until(&part(0, ".value"), "1");
    browser.reload();
    browser.until(STATE, "ready");
    browser.until(
        "return document.querySelector('.cell textarea').value",
        "let x = 1; x",
    );
    browser.until(&part(0, ".number"), "new");
    browser.click(".cell .run");
    browser.until(&part(0, ".value"), "1");
    browser.until(&part(0, ".number"), "1, sync");
}

#[test]
fn it_says_when_the_worker_is_gone_and_without_a_token() {
    let program = Program::start(&[]);
    let browser = Browser::open(&format!("http://{}/", program.host));
    browser.until_contains(
        "return document.getElementById('notice').textContent",
        "the address that the worker has printed",
    );
    browser.go(&format!("{}wrong", program.address()));
    // The same page, except for the part after the `#`.
    browser.reload();
    browser.until_contains(
        "return document.getElementById('notice').textContent",
        "the address that the worker has printed",
    );
    let browser = open(&program);
    browser.keys("await sleep(1e9)");
    browser.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    browser.until(STATE, "running");
    drop(program);
    browser.until(STATE, "not connected");
    browser.until_contains(&part(0, ".error"), "Lost");
    browser.until("return document.getElementById('connect').hidden", false);
}

#[test]
fn what_is_refused_is_said() {
    let program = Program::start(&["--sessions", "1"]);
    let first = open(&program);
    first.keys("let x = 1; x");
    first.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    first.until(&part(0, ".value"), "1");
    let second = open(&program);
    second.keys("await null; 2");
    second.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    second.until(&part(0, ".error"), "Refused: there are 1 sessions already");
    second.until(STATE, "ready");
    second.picture("refused");
    // The first page has noticed nothing, and leaves a place when it is closed.
    first.click(".cell .run");
    first.until_contains(&part(0, ".error"), "redeclaration");
    drop(first);
    fourway_testing::browser::until("there is a place", || {
        second.click(".cell .run");
        second.until_so(&part(0, ".number"), |number| number != "running");
        second.script(&part(0, ".value")) == "2"
    });

    // The server refuses messages of a client that does not read, which a page that is shown does;
    // so this answer is made up.
    second.script(
        "const send = window.fetch; \
         window.fetch = (path, options) => path.startsWith('/send/') && window.refusing \
             ? Promise.resolve(new Response('replies wait to be read', { status: 429 })) \
             : send(path, options); \
         window.refusing = true",
    );
    second.click(".cell .run");
    second.until(&part(0, ".error"), "Refused: replies wait to be read");
    second.until(STATE, "ready");
    second.script("window.refusing = false");
    second.fill(".cell textarea", "for (;;) await null");
    second.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    second.until(STATE, "running");
    second.script("window.refusing = true");
    // There is no cell that would say so.
    second.keys(ESCAPE);
    second.until(
        "return document.getElementById('notice').textContent",
        "replies wait to be read",
    );
    second.script("window.refusing = false");
    second.keys(ESCAPE);
    second.until_contains(&part(0, ".error"), "Interrupted");
    assert_eq!(second.errors(), Vec::<Value>::new());
}

#[test]
fn it_can_be_read_and_is_read_aloud() {
    let program = Program::start(&[]);
    let browser = open(&program);
    browser.keys("print('some output '.repeat(40)); ({ a: 1 })");
    browser.keys(&format!("{SHIFT}{ENTER}{RELEASE}"));
    browser.until(FOCUS, "Code of cell 2");
    browser.keys("await sleep(1); nothing.at.all");
    browser.keys(&format!("{SHIFT}{ENTER}{RELEASE}"));
    browser.until_contains(&part(1, ".error"), "ReferenceError");
    browser.keys("input('What, then? ')");
    browser.keys(&format!("{CONTROL}{ENTER}{RELEASE}"));
    browser.until(&part(2, ".prompt"), "What, then? ");
    for (colours, width) in [
        ("light", 1280),
        ("dark", 1280),
        ("light", 390),
        ("dark", 320),
    ] {
        browser.shown(colours, width);
        // Nothing overflows to the right.
        let fits = format!("return document.documentElement.scrollWidth <= {width}");
        browser.until(&fits, true);
        let (contrast, text) = browser.least_contrast();
        assert!(contrast >= 4.5, "{colours}, {width}: {contrast} of {text}");
        browser.picture(&format!("{colours}-{width}"));
    }
    for (label, what) in browser.labels("button, input, textarea, ol") {
        assert!(!label.trim().is_empty(), "no name: {what}");
    }
    assert_eq!(browser.script("return document.documentElement.lang"), "en");
    assert_eq!(browser.errors(), Vec::<Value>::new());
}

/// A foreign page, on another port of this machine.
fn foreign_page() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let page = "<!doctype html><title>Elsewhere</title>";
            let length = page.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{page}"
            );
        }
    });
    format!("http://{host}/")
}

#[test]
fn pages_of_others_have_no_way_in() {
    let program = Program::start(&[]);
    let browser = Browser::open(&foreign_page());
    // Also if they have learnt the token.
    let attempts = format!(
        "const at = 'http://{host}', token = '{token}';
        const headers = {{ authorization: `Bearer ${{token}}` }};
        const tried = await Promise.allSettled([
            fetch(at + '/'),
            fetch(at + '/connect', {{ method: 'POST' }}),
            fetch(at + '/connect', {{ method: 'POST', headers }}),
            fetch(at + '/send/1', {{ method: 'POST', headers, body: '' }}),
        ]);
        // A request is sent even if the page may not read the answer.
        await fetch(at + '/connect', {{ method: 'POST', mode: 'no-cors', body: token }}).catch(() => 0);
        const form = document.createElement('form');
        const frame = document.createElement('iframe');
        frame.name = 'target'; form.target = 'target'; form.method = 'POST'; form.action = at + '/connect';
        document.body.append(frame, form);
        const loaded = new Promise((resolve) => frame.onload = resolve);
        form.submit();
        await loaded;
        const script = document.createElement('script');
        script.src = at + '/page.js';
        const ran = await new Promise((resolve) => {{
            script.onload = () => resolve('ran'); script.onerror = () => resolve('refused');
            document.head.append(script);
        }});
        const inside = document.createElement('iframe');
        inside.src = at + '/#' + token;
        const shown = new Promise((resolve) => inside.onload = resolve);
        document.body.append(inside);
        await shown;
        let seen;
        try {{ seen = inside.contentDocument?.title ?? 'nothing' }} catch {{ seen = 'nothing' }}
        return [tried.map((one) => one.status), ran, seen];",
        host = program.host,
        token = program.token,
    );
    let found = browser.script(&attempts);
    let nothing = json!([
        ["rejected", "rejected", "rejected", "rejected"],
        "refused",
        "nothing"
    ]);
    assert_eq!(found, nothing);
    // No client has connected before this one, not from the frame either, which did not load.
    assert_eq!(program.connect().number, 1);
}
