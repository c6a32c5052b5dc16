//! Headless Chromium through its driver: the part of WebDriver that tests of pages need.
//!
//! Behind the feature `browser`; `.ci/browser` installs Chromium and `chromedriver`, and runs the
//! tests that have that feature. With `FOURWAY_SCREENSHOTS=FOLDER` they leave pictures there.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;

use crate::AGES;

/// The key, for [`Browser::keys`].
pub const ENTER: &str = "\u{e007}";
/// The key.
pub const ESCAPE: &str = "\u{e00c}";
/// The key, which is held until [`RELEASE`].
pub const SHIFT: &str = "\u{e008}";
/// The key, which is held until [`RELEASE`].
pub const CONTROL: &str = "\u{e009}";
/// The key, which is held until [`RELEASE`].
pub const ALT: &str = "\u{e00a}";
/// The key.
pub const TAB: &str = "\u{e004}";
/// The key.
pub const DOWN: &str = "\u{e015}";
/// The key.
pub const UP: &str = "\u{e013}";
/// Releases the keys that are held.
pub const RELEASE: &str = "\u{e000}";

/// The standard's key for an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one page, which ends when this is dropped.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    session: String,
    agent: Agent,
    _stdout: BufReader<ChildStdout>,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser that shows this address.
    #[must_use]
    pub fn open(url: &str) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("`.ci/browser` installs chromedriver");
        let mut stdout = BufReader::new(driver.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert_ne!(
                stdout.read_line(&mut line).unwrap(),
                0,
                "chromedriver has ended"
            );
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim().trim_end_matches('.').to_owned();
            }
        };
        let profile = tempfile::tempdir().unwrap();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(2 * AGES))
            .build()
            .into();
        let mut this = Self {
            driver,
            session: format!("http://127.0.0.1:{port}/session"),
            agent,
            _stdout: stdout,
            _profile: profile,
        };
        let profile = format!("--user-data-dir={}", this._profile.path().display());
        let options = json!({"args": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", "--window-size=1280,1600", profile,
        ]});
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let session = this.post("", &wanted);
        let id = session["sessionId"].as_str().expect("a session");
        this.session = format!("{}/{id}", this.session);
        this.go(url);
        this
    }

    /// Shows another address.
    pub fn go(&self, url: &str) {
        self.post("/url", &json!({"url": url}));
    }

    /// Loads the page anew.
    pub fn reload(&self) {
        self.post("/refresh", &json!({}));
    }

    fn try_post(&self, path: &str, body: &Value) -> Result<Value, Value> {
        let url = format!("{}{path}", self.session);
        let mut response = self.agent.post(url).send_json(body).unwrap();
        let answer: Value = response.body_mut().read_json().unwrap();
        if response.status().is_success() {
            Ok(answer["value"].clone())
        } else {
            Err(answer["value"].clone())
        }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.try_post(path, body);
        answer.unwrap_or_else(|error| panic!("{path}: {} {}", error["error"], error["message"]))
    }

    fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.session);
        let mut response = self.agent.get(url).call().unwrap();
        let answer: Value = response.body_mut().read_json().unwrap();
        answer["value"].clone()
    }

    /// The result of the script; waits for a promise.
    pub fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until the script returns a wanted value, and gives it.
    ///
    /// A script that throws is run again: the page may not have drawn the element yet.
    pub fn until_so(&self, script: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let body = json!({"script": script, "args": []});
        let mut last = Ok(Value::Null);
        until_told(|| {
            last = self.try_post("/execute/sync", &body);
            match &last {
                Ok(value) if is_so(value) => Ok(()),
                _ => Err(format!("{script} gave {last:?}")),
            }
        });
        last.expect("until it is so")
    }

    /// Waits until the script returns that.
    pub fn until(&self, script: &str, wanted: impl Into<Value>) {
        let wanted = wanted.into();
        self.until_so(script, |value| *value == wanted);
    }

    /// Waits until the script returns a text that has this part.
    pub fn until_contains(&self, script: &str, part: &str) {
        self.until_so(script, |value| {
            value.as_str().is_some_and(|text| text.contains(part))
        });
    }

    /// Waits until the script returns a number, and gives that.
    pub fn number(&self, script: &str) -> f64 {
        let number = self.until_so(script, Value::is_number);
        number.as_f64().expect("a number")
    }

    /// Waits until the script returns more than that.
    pub fn until_above(&self, script: &str, bound: f64) {
        self.until_so(script, |value| {
            value.as_f64().is_some_and(|value| value > bound)
        });
    }

    fn element(&self, selector: &str) -> Result<String, Value> {
        let wanted = json!({"using": "css selector", "value": selector});
        let found = self.try_post("/element", &wanted)?;
        Ok(found[ELEMENT].as_str().unwrap().to_owned())
    }

    /// Clicks as a user does; again if the element was replaced, moved or covered meanwhile.
    pub fn click(&self, selector: &str) {
        until(&format!("a click on {selector}"), || {
            self.element(selector)
                .and_then(|id| self.try_post(&format!("/element/{id}/click"), &json!({})))
                .is_ok()
        });
    }

    /// Types a text into a field, in place of what is there; again if the field was replaced.
    pub fn fill(&self, selector: &str, text: &str) {
        until(&format!("{selector} to be filled"), || {
            self.element(selector)
                .and_then(|id| {
                    self.try_post(&format!("/element/{id}/clear"), &json!({}))?;
                    // Clearing alone fires no input event.
                    let typed = format!("x\u{e003}{text}");
                    self.try_post(&format!("/element/{id}/value"), &json!({"text": typed}))
                })
                .is_ok()
        });
    }

    /// Presses and releases keys, wherever the focus is. [`SHIFT`] and the like are held.
    pub fn keys(&self, keys: &str) {
        let mut held = Vec::new();
        let mut actions = Vec::new();
        for key in keys.chars().map(String::from) {
            if key == RELEASE {
                let up = |key| json!({"type": "keyUp", "value": key});
                actions.extend(held.drain(..).map(up));
                continue;
            }
            actions.push(json!({"type": "keyDown", "value": key}));
            if [SHIFT, CONTROL, ALT].contains(&key.as_str()) {
                held.push(key);
            } else {
                actions.push(json!({"type": "keyUp", "value": key}));
            }
        }
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.post("/actions", &json!({"actions": [keyboard]}));
    }

    /// The names and roles of elements for assistive technology.
    pub fn labels(&self, selector: &str) -> Vec<(String, String)> {
        let wanted = json!({"using": "css selector", "value": selector});
        let script =
            "return arguments[0].checkVisibility() ? arguments[0].outerHTML.slice(0, 100) : null";
        let found = self.post("/elements", &wanted);
        let labels = found.as_array().unwrap().iter().filter_map(|element| {
            let body = json!({"script": script, "args": [element]});
            let what = self.try_post("/execute/sync", &body).ok()?;
            let id = element[ELEMENT].as_str().unwrap();
            let label = self.get(&format!("/element/{id}/computedlabel"));
            // An element that is gone by now or is not shown.
            Some((label.as_str()?.to_owned(), what.as_str()?.to_owned()))
        });
        labels.collect()
    }

    fn chromium(&self, command: &str, parameters: Value) {
        let body = json!({"cmd": command, "params": parameters});
        self.post("/goog/cdp/execute", &body);
    }

    /// Emulates a screen of this width, on a system with these colours.
    pub fn shown(&self, colours: &str, width: u32) {
        let features = json!([{"name": "prefers-color-scheme", "value": colours}]);
        self.chromium("Emulation.setEmulatedMedia", json!({"features": features}));
        self.chromium(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": width < 600}),
        );
    }

    /// The shown text with the least contrast to its background: its contrast by WCAG's formula
    /// (which requires 4.5), and the beginning of its element.
    pub fn least_contrast(&self) -> (f64, String) {
        let worst = self.script(CONTRAST);
        let text = worst[1].as_str().unwrap_or_default();
        (worst[0].as_f64().unwrap(), text.to_owned())
    }

    /// The errors of the page.
    pub fn errors(&self) -> Vec<Value> {
        let log = self.post("/se/log", &json!({"type": "browser"}));
        let entries = log.as_array().cloned().unwrap_or_default();
        let is_error = |entry: &Value| entry["level"] == "SEVERE";
        entries.into_iter().filter(is_error).collect()
    }

    /// Saves a picture of the page, if pictures are wanted.
    pub fn picture(&self, name: &str) {
        let Some(folder) = env::var_os("FOURWAY_SCREENSHOTS") else {
            return;
        };
        let png = self.get("/screenshot");
        let png = BASE64_STANDARD.decode(png.as_str().unwrap()).unwrap();
        fs::create_dir_all(&folder).unwrap();
        fs::write(Path::new(&folder).join(format!("{name}.png")), png).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium as well.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// See [`Browser::least_contrast`].
const CONTRAST: &str = "
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgb = colour => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = colour => rgb(colour).slice(0, 3).map(c => c / 255)
        .map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
        .reduce((sum, c, at) => sum + c * [.2126, .7152, .0722][at], 0);
    const behind = element => {
        for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            if (rgb(colour)[3] === 255) return colour;
        }
        return 'white';
    };
    let worst = [21, ''];
    for (const element of document.querySelectorAll('body *')) {
        const text = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!text || !element.checkVisibility() || element.matches(':disabled, option, script, style')) continue;
        const style = getComputedStyle(element);
        const both = [light(element.ownerSVGElement ? style.fill : style.color), light(behind(element))].sort((a, b) => a - b);
        const contrast = (both[1] + .05) / (both[0] + .05);
        if (contrast < worst[0]) worst = [contrast, element.outerHTML.slice(0, 120)];
    }
    return worst";

/// Looks until it is so; fails if it never is.
///
/// # Panics
///
/// If it takes longer than [`AGES`], twice.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    until_told(|| match is_so() {
        true => Ok(()),
        false => Err(what.to_owned()),
    });
}

/// The same, with the last text of `look` in the failure.
fn until_told(mut look: impl FnMut() -> Result<(), String>) {
    let begin = Instant::now();
    while let Err(last) = look() {
        assert!(begin.elapsed() < 2 * AGES, "waited in vain: {last}");
        thread::sleep(Duration::from_millis(20));
    }
}
