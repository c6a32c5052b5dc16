use std::path::Path;

use crate::{Problem, front_matter};

/// One skill: the data of its front matter, and its Markdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skill {
    /// Lower-case words joined by hyphens; the name of its folder as well.
    pub name: String,
    /// The line of the name, from 1.
    pub name_line: usize,
    /// What it is for.
    pub description: String,
    /// Tools it may use; empty if it names none.
    pub allowed_tools: Vec<String>,
    /// The Markdown, without surrounding blank lines.
    pub body: String,
}

const NAME_LIMIT: usize = 64;
const DESCRIPTION_LIMIT: usize = 1024;

/// Parses and validates the contents of a `SKILL.md`. Does not touch the disk;
/// `path` is for the messages, and for the folder's name.
///
/// # Errors
///
/// The first problem found, with its line.
pub fn parse_bytes(path: &Path, bytes: &[u8]) -> Result<Skill, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        let reason = format!("is not UTF-8 from byte {} on", error.valid_up_to());
        Problem::new(path, line, reason)
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (yaml, body, body_line) = split(path, text)?;
    let problem = |line, reason: String| Problem::new(path, line, reason);
    let front = front_matter::parse(&yaml).map_err(|(line, reason)| {
        // The YAML begins in line 2 of the file; an end of input is in its last line.
        let last = yaml.lines().count().max(1) + 1;
        let line = line_of(line).min(last);
        problem(line, format!("the front matter is not valid: {reason}"))
    })?;

    let name = front
        .name
        .ok_or_else(|| problem(1, "the front matter has no `name`".into()))?;
    let name_line = line_of(name.referenced.line());
    check_name(path, &name.value).map_err(|reason| problem(name_line, reason))?;

    let description = front
        .description
        .ok_or_else(|| problem(1, "the front matter has no `description`".into()))?;
    let line = line_of(description.referenced.line());
    let description = description.value.trim().to_owned();
    check_description(&description).map_err(|reason| problem(line, reason))?;

    let (tools_line, allowed_tools) = match front.allowed_tools {
        None => (1, Vec::new()),
        Some(tools) => {
            let line = line_of(tools.referenced.line());
            (line, tools.value.0)
        }
    };
    check_tools(&allowed_tools).map_err(|reason| problem(tools_line, reason))?;

    if body.is_empty() {
        let reason = "has no instructions after the front matter";
        return Err(problem(body_line, reason.into()));
    }
    Ok(Skill {
        name: name.value,
        name_line,
        description,
        allowed_tools,
        body,
    })
}

/// A line of the YAML as a line of the file: the opening `---` comes first.
fn line_of(yaml_line: u64) -> usize {
    usize::try_from(yaml_line)
        .unwrap_or(usize::MAX)
        .max(1)
        .saturating_add(1)
}

/// The YAML, the Markdown, and the line in which the Markdown begins. Line ends
/// become `\n`.
fn split(path: &Path, text: &str) -> Result<(String, String, usize), Problem> {
    let mut lines = text.lines();
    if lines.next().map(str::trim_end) != Some("---") {
        let reason = "must begin with a line `---`, which opens the front matter";
        return Err(Problem::new(path, 1, reason));
    }
    let mut yaml = String::new();
    for (number, line) in lines.by_ref().enumerate() {
        if line.trim_end() == "---" {
            let body: Vec<&str> = lines.collect();
            // The line after the closing one, if there is any.
            let body_line = if body.is_empty() {
                number + 2
            } else {
                number + 3
            };
            return Ok((yaml, body.join("\n").trim().to_owned(), body_line));
        }
        yaml.push_str(line);
        yaml.push('\n');
    }
    let last = text.lines().count().max(1);
    let reason = "the front matter is not closed: a line `---` is missing";
    Err(Problem::new(path, last, reason))
}

fn check_name(path: &Path, name: &str) -> Result<(), String> {
    let words = |name: &str| {
        name.split('-').all(|word| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
    };
    if name.len() > NAME_LIMIT {
        return Err(format!(
            "the name is {} bytes long; the limit is {NAME_LIMIT}",
            name.len()
        ));
    }
    if !words(name) {
        return Err(format!(
            "the name `{name}` must be lower-case words joined by hyphens"
        ));
    }
    let folder = path.parent().and_then(Path::file_name);
    if let Some(folder) = folder.filter(|folder| *folder != name) {
        return Err(format!(
            "the name `{name}` differs from its folder's, `{}`",
            folder.to_string_lossy()
        ));
    }
    Ok(())
}

fn check_description(description: &str) -> Result<(), String> {
    if description.is_empty() {
        return Err("the description is empty".into());
    }
    let length = description.chars().count();
    if length > DESCRIPTION_LIMIT {
        return Err(format!(
            "the description has {length} characters; the limit is {DESCRIPTION_LIMIT}"
        ));
    }
    if description.contains("\n\n") {
        return Err("the description must be a single paragraph".into());
    }
    Ok(())
}

fn check_tools(tools: &[String]) -> Result<(), String> {
    for (at, tool) in tools.iter().enumerate() {
        let valid = tool.starts_with(|c: char| c.is_ascii_alphabetic())
            && !tool.contains(char::is_control)
            && tool.len() <= 128;
        if !valid {
            return Err(format!("`{tool}` is not the name of a tool"));
        }
        if tools[..at].contains(tool) {
            return Err(format!("the tool `{tool}` is listed twice"));
        }
    }
    Ok(())
}
