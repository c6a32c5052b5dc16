//! The source of code: [`Reader`], an editor on a terminal, and plain lines elsewhere.

use std::{
    borrow::Cow::{self, Owned},
    error::Error,
    io::{self, BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use code_worker::{Connection, detect::Completeness};
use fourway::{BlockOn, Timer};
use rustyline::{
    Config, Context, Editor, ExternalPrinter, Helper,
    completion::{Completer, Pair},
    config::CompletionType,
    error::ReadlineError,
    highlight::{CmdKind, Highlighter},
    hint::{Hinter, HistoryHinter},
    history::FileHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};

use super::{
    SESSION,
    colours::{DIM, ERROR, paint},
    history,
};

const PROMPT: &str = "> ";

/// The result of reading.
pub(crate) enum Line {
    Text(String),
    Interrupted,
    End,
}

pub(crate) struct Reader {
    // `None` if the input is no terminal.
    editor: Option<Editor<Assistant, FileHistory>>,
    // Where the history is kept; `None` if it is in memory only.
    history: Option<PathBuf>,
    connection: Arc<Connection>,
    editing: Arc<AtomicBool>,
}

impl Reader {
    /// With `keeps_history`, the history of earlier runs is there, and is continued.
    pub(crate) fn new(
        connection: &Arc<Connection>,
        keeps_history: bool,
    ) -> Result<Self, Box<dyn Error>> {
        let editor = match io::stdin().is_terminal() {
            false => None,
            true => {
                let config = Config::builder()
                    .completion_type(CompletionType::List)
                    .auto_add_history(false)
                    .max_history_size(history::ENTRIES)?
                    .build();
                let history = FileHistory::with_config(&config);
                let mut editor = Editor::with_history(config, history)?;
                editor.set_helper(Some(Assistant {
                    connection: connection.clone(),
                    hinter: HistoryHinter::new(),
                    plain: false,
                }));
                Some(editor)
            }
        };
        let mut this = Self {
            history: history::place().filter(|_| keeps_history && editor.is_some()),
            editor,
            connection: connection.clone(),
            editing: Arc::default(),
        };
        this.with_history(|editor, path| {
            history::make(path)?;
            editor.load_history(path)
        });
        Ok(this)
    }

    /// Uses the file of the history. If that fails, the user is told once, and the history is in memory from
    /// there on.
    fn with_history(
        &mut self,
        f: impl FnOnce(&mut Editor<Assistant, FileHistory>, &Path) -> rustyline::Result<()>,
    ) {
        let (Some(editor), Some(path)) = (&mut self.editor, &self.history) else {
            return;
        };
        if let Err(error) = f(editor, path) {
            let path = path.display();
            anstream::eprintln!("{ERROR}the history is not kept: {path}: {error}{ERROR:#}");
            self.history = None;
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.editor.is_some()
    }

    /// Is a line being edited? Shared, so that it is always current.
    pub(crate) fn is_editing(&self) -> Arc<AtomicBool> {
        self.editing.clone()
    }

    /// A printer that can show a text while a line is edited.
    pub(crate) fn printer(&mut self) -> Option<impl ExternalPrinter + Send + 'static> {
        // There is none if the output is no terminal.
        self.editor.as_mut()?.create_external_printer().ok()
    }

    /// Code that is complete, or wrong whatever may follow.
    pub(crate) fn code(&mut self) -> Line {
        if self.editor.is_none() {
            return self.whole_from_lines();
        }
        let line = self.edit(PROMPT, false);
        if let (Line::Text(text), Some(editor)) = (&line, &mut self.editor)
            && text.len() <= history::LONGEST
        {
            // In memory: the worst is a history that lacks a line.
            let _ = editor.add_history_entry(text);
            // Now, and not at the end: a signal may end the program, and other prompts have the same file.
            self.with_history(|editor, path| editor.append_history(path));
        }
        line
    }

    /// An answer for code that asks.
    pub(crate) fn answer(&mut self, prompt: &str) -> Line {
        if self.editor.is_none() {
            print!("{prompt}");
            // The same for a reader of the output.
            let _ = io::stdout().flush();
            return line();
        }
        self.edit(prompt, true)
    }

    /// `plain` without help for code.
    fn edit(&mut self, prompt: &str, plain: bool) -> Line {
        let editor = self.editor.as_mut().expect("there is a terminal");
        if let Some(assistant) = editor.helper_mut() {
            assistant.plain = plain;
        }
        self.editing.store(true, Ordering::Relaxed);
        let read = editor.readline(prompt);
        self.editing.store(false, Ordering::Relaxed);
        match read {
            Ok(text) => Line::Text(text),
            Err(ReadlineError::Interrupted) => Line::Interrupted,
            Err(_) => Line::End,
        }
    }

    /// Lines, until they are complete. At the end of the input, the rest.
    fn whole_from_lines(&self) -> Line {
        let parser = self.connection.worker().parser();
        let mut code = String::new();
        loop {
            match line() {
                Line::Text(text) => code.push_str(&text),
                end if code.trim().is_empty() => return end,
                _ => return Line::Text(code),
            }
            if parser.completeness(&code) != Completeness::Incomplete {
                return Line::Text(code);
            }
            code.push('\n');
        }
    }
}

fn line() -> Line {
    let mut bytes = Vec::new();
    match io::stdin().lock().read_until(b'\n', &mut bytes) {
        Ok(0) | Err(_) => Line::End,
        Ok(_) => {
            let text = String::from_utf8_lossy(&bytes);
            Line::Text(text.trim_end_matches(['\n', '\r']).to_owned())
        }
    }
}

/// The helper of the editor while the user types.
struct Assistant {
    connection: Arc<Connection>,
    hinter: HistoryHinter,
    plain: bool,
}

impl Helper for Assistant {}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> Result<(usize, Vec<Pair>), ReadlineError> {
        if self.plain {
            return Ok((at, Vec::new()));
        }
        let rt = self.connection.worker().runtime();
        let asked = self.connection.complete(SESSION, line[..at].to_owned(), 0);
        // Work left behind may hold the session for a moment; a completion does not wait long.
        let found = rt.block_on(rt.timeout(Duration::from_secs(1), asked));
        let (start, matches) = found.unwrap_or_default();
        let pairs = matches.into_iter().map(|name| Pair {
            display: name.clone(),
            replacement: name,
        });
        Ok((start, pairs.collect()))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    fn hint(&self, line: &str, at: usize, cx: &Context<'_>) -> Option<String> {
        match self.plain {
            true => None,
            false => self.hinter.hint(line, at, cx),
        }
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        match self.plain {
            true => line.into(),
            false => Owned(paint(line)),
        }
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Owned(format!("{DIM}{hint}{DIM:#}"))
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        // A quote changes all following colours.
        !self.plain && kind != CmdKind::MoveCursor
    }
}

impl Validator for Assistant {
    fn validate(&self, cx: &mut ValidationContext<'_>) -> Result<ValidationResult, ReadlineError> {
        let parser = self.connection.worker().parser();
        if self.plain || parser.completeness(cx.input()) != Completeness::Incomplete {
            // Wrong code is executed, which reports the error.
            return Ok(ValidationResult::Valid(None));
        }
        Ok(ValidationResult::Incomplete)
    }
}
