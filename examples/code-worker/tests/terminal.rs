//! The prompt on a terminal: typed input and shown output.

#![cfg(unix)]

use std::{
    fs,
    io::{Read, Write},
    num::NonZeroU16,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Child,
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use fourway_testing::AGES;
use pty_process::{
    Size,
    blocking::{Command, Pty, open},
};
use tempfile::TempDir;
use vt100::{Color, Parser, Screen};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const ENTER: &str = "\r";
const TAB: &str = "\t";
const UP: &str = "\x1b[A";

const ROWS: u16 = 30;
const COLUMNS: u16 = 100;

/// The program, at a terminal that ends with the test.
struct Terminal {
    child: Child,
    keyboard: Arc<Pty>,
    screen: Arc<Mutex<Parser>>,
    // The folder of the user's state.
    state: Arc<TempDir>,
}

impl Terminal {
    fn start(arguments: &[&str]) -> Self {
        Self::start_in(Arc::new(TempDir::new().unwrap()), arguments)
    }

    /// With what earlier programs have left in this folder.
    fn start_in(state: Arc<TempDir>, arguments: &[&str]) -> Self {
        let (pty, inside) = open().unwrap();
        pty.resize(Size::new(ROWS, COLUMNS)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_code-worker"))
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env("XDG_STATE_HOME", state.path())
            .env_remove("NO_COLOR")
            .spawn(inside)
            .unwrap();
        let keyboard = Arc::new(pty);
        let size = |n| NonZeroU16::new(n).unwrap();
        let screen = Arc::new(Mutex::new(Parser::new(size(ROWS), size(COLUMNS), 0)));
        let (output, shown) = (keyboard.clone(), screen.clone());
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // An error is the end: there is no writer any more.
            while let Ok(count @ 1..) = (&*output).read(&mut buffer) {
                shown.lock().unwrap().process(&buffer[..count]);
            }
        });
        let this = Self {
            child,
            keyboard,
            screen,
            state,
        };
        this.until_prompt();
        this
    }

    fn keys(&self, keys: &str) {
        (&*self.keyboard).write_all(keys.as_bytes()).unwrap();
    }

    /// The visible lines, without empty ones at the end.
    fn lines(&self) -> Vec<String> {
        let text = self.screen.lock().unwrap().screen().contents();
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    #[track_caller]
    fn until(&self, what: &str, so: impl Fn(&Screen, &[String]) -> bool) {
        let end = Instant::now() + AGES;
        loop {
            let lines = self.lines();
            if so(self.screen.lock().unwrap().screen(), &lines) {
                return;
            }
            assert!(Instant::now() < end, "never: {what}\n{}", lines.join("\n"));
            thread::yield_now();
        }
    }

    /// Waits for this line.
    #[track_caller]
    fn until_line(&self, line: &str) {
        self.until(line, |_, lines| lines.iter().any(|seen| seen == line));
    }

    /// Waits for an empty prompt, with the cursor in it.
    #[track_caller]
    fn until_prompt(&self) {
        self.until("a prompt", |screen, _| {
            let (row, column) = screen.cursor_position();
            // A row is no line: on a slow machine there is a report above that takes two.
            let mut rows = screen.rows(0, COLUMNS);
            let row = rows.nth(usize::from(row));
            column == 2 && row.is_some_and(|row| row.trim_end() == ">")
        });
    }

    /// Types a line, and waits for the next prompt.
    #[track_caller]
    fn enter(&self, code: &str) {
        let row = self.screen.lock().unwrap().screen().cursor_position().0;
        self.keys(code);
        self.keys(ENTER);
        self.until("the next line", |screen, _| {
            screen.cursor_position().0 > row
        });
        self.until_prompt();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of the README.
#[test]
fn both_kinds_have_one_namespace() {
    for runtime in ["std-thread", "tokio", "tokio-current-thread", "smol"] {
        let terminal = Terminal::start(&["--runtime", runtime]);
        terminal.enter("let x = await sleep(10).then(() => 20)");
        terminal.enter("x + 1");
        terminal.until_line("21");
    }
}

#[test]
fn input_may_have_several_lines() {
    let terminal = Terminal::start(&[]);
    // Not whole: the cursor is in the next line, and nothing was executed.
    terminal.enter_part("function f() {");
    terminal.enter_part("  return [1,");
    terminal.enter_part("  await_ = 2]");
    terminal.enter("}");
    terminal.enter("f()");
    terminal.until_line("[1, 2]");
    terminal.enter_part("await sleep(");
    terminal.enter("1); 'slept'");
    terminal.until_line("\"slept\"");
    // Code that is wrong, whatever may follow, does not wait for more lines.
    terminal.enter("let = = 1");
    terminal.until("an error", |_, lines| {
        lines.iter().any(|line| line.starts_with("SyntaxError"))
    });
}

impl Terminal {
    /// Types a line that is not whole, and waits for the cursor in the next one.
    #[track_caller]
    fn enter_part(&self, code: &str) {
        let row = self.screen.lock().unwrap().screen().cursor_position().0;
        self.keys(code);
        self.keys(ENTER);
        self.until("the next line", |screen, lines| {
            let (now, column) = screen.cursor_position();
            now > row && column == 0 && lines.get(usize::from(now)).is_none_or(String::is_empty)
        });
    }
}

#[test]
fn names_are_completed() {
    let terminal = Terminal::start(&[]);
    terminal.enter("let alphabet = { letters: 26, vowels: 5 }");
    for (part, whole, value) in [
        ("alpha", "alphabet", None),
        (".le", "alphabet.letters", Some("26")),
    ] {
        terminal.keys(part);
        terminal.keys(TAB);
        let line = format!("> {whole}");
        terminal.until(whole, |_, lines| {
            lines.last().is_some_and(|last| *last == line)
        });
        if let Some(value) = value {
            terminal.enter("");
            terminal.until_line(value);
        }
    }
    // Several are shown.
    terminal.keys("alphabet.");
    terminal.keys(TAB);
    terminal.keys(TAB);
    terminal.until("the names", |_, lines| {
        let list = lines.iter().filter(|line| !line.starts_with('>'));
        let list: Vec<&str> = list.flat_map(|line| line.split_whitespace()).collect();
        list.contains(&"letters") && list.contains(&"vowels")
    });
}

#[test]
fn what_was_entered_comes_back() {
    let terminal = Terminal::start(&[]);
    terminal.enter("let n = 1");
    terminal.enter("n += 10");
    terminal.until_line("11");
    terminal.keys(UP);
    terminal.until("the last line", |_, lines| {
        lines.last().is_some_and(|line| line == "> n += 10")
    });
    terminal.enter("");
    terminal.until_line("21");
    terminal.keys(UP);
    terminal.keys(UP);
    terminal.until("the line before", |_, lines| {
        lines.last().is_some_and(|line| line == "> let n = 1")
    });
}

#[test]
fn history_is_kept_for_the_next_run_and_for_the_owner_alone() {
    let first = Terminal::start(&[]);
    first.enter("let n = 1");
    first.enter_part("function f() {");
    first.enter("return n + 10 }");
    // An answer may be a secret.
    first.keys("input('Word? ').length");
    first.keys(ENTER);
    first.until("the question", |_, lines| {
        lines.last().is_some_and(|line| line == "Word?")
    });
    first.enter("swordfish");
    first.until_line("9");
    let folder = first.state.path().join("code-worker");
    let file = folder.join("history");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));
    let kept = fs::read_to_string(&file).unwrap();
    assert!(
        kept.contains("let n = 1") && !kept.contains("swordfish"),
        "{kept}"
    );
    // Not even its end is needed.
    let state = first.state.clone();
    drop(first);

    let second = Terminal::start_in(state.clone(), &[]);
    second.keys(UP);
    second.until("the last line", |_, lines| {
        lines
            .last()
            .is_some_and(|line| line == "> input('Word? ').length")
    });
    second.keys(UP);
    second.until("both lines of the function", |_, lines| {
        lines.ends_with(&["> function f() {".to_owned(), "return n + 10 }".to_owned()])
    });
    drop(second);

    let third = Terminal::start_in(state, &["--no-history"]);
    third.keys(UP);
    third.enter("'nothing came before'");
    third.until_line("\"nothing came before\"");
    assert_eq!(fs::read_to_string(&file).unwrap(), kept);
}

#[test]
fn a_history_is_bounded_and_its_errors_are_told_once() {
    let state = Arc::new(TempDir::new().unwrap());
    let file = state.path().join("code-worker/history");
    fs::create_dir(file.parent().unwrap()).unwrap();
    let old: Vec<String> = (0..1500).map(|n| format!("{n} + 0")).collect();
    fs::write(&file, old.join("\n")).unwrap();
    let terminal = Terminal::start_in(state.clone(), &[]);
    terminal.enter("'the newest'");
    let kept = fs::read_to_string(&file).unwrap();
    // A line says which version it is.
    assert_eq!(kept.lines().count(), 1 + 1000, "{kept}");
    assert!(kept.ends_with("\n1499 + 0\n'the newest'\n"), "{kept}");
    // What others could read before, they cannot read any more.
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(terminal);

    // No text.
    fs::write(&file, [0xff, 0xfe, b'\n']).unwrap();
    let terminal = Terminal::start_in(state, &[]);
    let told = |lines: &[String]| {
        let told = lines
            .iter()
            .filter(|line| line.starts_with("the history is not kept:"));
        told.count()
    };
    terminal.enter("let n = 20");
    terminal.enter("n + 1");
    terminal.until_line("21");
    assert_eq!(told(&terminal.lines()), 1);
    // The file stays as it is, and this run has its history in memory.
    assert_eq!(fs::read(&file).unwrap(), [0xff, 0xfe, b'\n']);
    terminal.keys(UP);
    terminal.until("the last line", |_, lines| {
        lines.last().is_some_and(|line| line == "> n + 1")
    });
}

#[test]
fn ctrl_c_interrupts_what_runs_and_ctrl_d_ends() {
    for (runtime, model) in [
        ("std-thread", "route"),
        ("tokio-current-thread", "async"),
        ("smol", "thread"),
    ] {
        let mut terminal = Terminal::start(&["--runtime", runtime, "--model", model]);
        terminal.enter("let x = 20");
        for (count, code) in [
            "while (true) {}",
            "await null; while (true) {}",
            "await new Promise(() => {})",
        ]
        .into_iter()
        .enumerate()
        {
            terminal.keys(&format!("print('begun'); {code}"));
            terminal.keys(ENTER);
            terminal.until("the code runs", |_, lines| {
                lines.iter().filter(|line| *line == "begun").count() > count
            });
            terminal.keys(CTRL_C);
            terminal.until("the interruption", |_, lines| {
                let told = |line: &&String| line.starts_with("Interrupted");
                lines.iter().filter(told).count() > count
            });
            terminal.until_prompt();
        }
        // While a line is edited, Ctrl-C gives the line up.
        terminal.keys("not this");
        terminal.until("the text", |_, lines| {
            lines.last().is_some_and(|line| line == "> not this")
        });
        terminal.keys(CTRL_C);
        terminal.until_prompt();
        terminal.enter("x + 1");
        terminal.until_line("21");
        terminal.keys(CTRL_D);
        let end = Instant::now() + AGES;
        let status = loop {
            if let Some(status) = terminal.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end");
            thread::yield_now();
        };
        assert!(status.success(), "{status}");
    }
}

/// A signal may arrive when no code runs and no line is edited: the code ended just as the keys
/// were pressed. That does not lose the session.
#[test]
fn a_late_ctrl_c_ends_nothing() {
    let terminal = Terminal::start(&[]);
    terminal.enter("let x = 20");
    let id = rustix::process::Pid::from_child(&terminal.child);
    let values = || terminal.lines().iter().filter(|line| *line == "21").count();
    for n in 1..=3 {
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
        // A signal that arrives while the line is typed or runs ends it, as the keys do. Only the
        // session must survive.
        let end = Instant::now() + AGES;
        while values() < n {
            assert!(Instant::now() < end, "never: {n} values");
            terminal.enter("x + 1");
        }
    }
}

#[test]
fn output_comes_while_a_line_is_edited() {
    let terminal = Terminal::start(&[]);
    terminal.enter("setTimeout(() => print('later'), 300); 0");
    terminal.keys("20 +");
    terminal.until_line("later");
    terminal.until("the line is there again", |_, lines| {
        lines.last().is_some_and(|line| line == "> 20 +")
    });
    terminal.enter(" 1");
    terminal.until_line("21");
}

#[test]
fn code_asks_and_is_coloured() {
    let terminal = Terminal::start(&[]);
    terminal.keys("'hello ' + input('Who? ')");
    terminal.keys(ENTER);
    terminal.until("the question", |_, lines| {
        lines.last().is_some_and(|line| line == "Who?")
    });
    terminal.enter("Ada");
    terminal.until_line("\"hello Ada\"");
    terminal.keys("let y = 'text'");
    terminal.until("colours", |screen, lines| {
        let Some(row) = lines.iter().position(|line| line == "> let y = 'text'") else {
            return false;
        };
        let row = u16::try_from(row).unwrap();
        let colour = |column| screen.cell(row, column).unwrap().fgcolor();
        // A keyword, a name, a text.
        colour(2) == Color::Idx(5) && colour(6) == Color::Default && colour(11) == Color::Idx(2)
    });
}
