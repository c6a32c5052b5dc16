//! The words of the contract, by rule.

use std::sync::OnceLock;

/// The contract, as this version of the suite tests it.
pub const CONTRACT: &str = include_str!("../CONTRACT.md");

/// The words of a rule, such as `JO-2`.
#[must_use]
pub fn text(rule: &str) -> Option<&'static str> {
    let (_, text) = all().iter().find(|(known, _)| known == rule)?;
    Some(text)
}

/// All rules of the contract, in order, with their words.
#[must_use]
pub fn all() -> &'static [(String, String)] {
    static RULES: OnceLock<Vec<(String, String)>> = OnceLock::new();
    RULES.get_or_init(|| parse(CONTRACT))
}

/// Why no broken runtime proves that the case can fail, if none does.
///
/// All others are proven: see `docs/BROKEN-RUNTIMES.md` of the project.
#[must_use]
pub fn exemption(id: &str) -> Option<&'static str> {
    let (reason, _) = exemptions().iter().find(|(_, ids)| ids.contains(&id))?;
    Some(reason)
}

/// The cases that no broken runtime fails, by the reason for that.
#[must_use]
pub fn exemptions() -> &'static [(&'static str, &'static [&'static str])] {
    crate::exempt::EXEMPT
}

/// A rule is a list item that begins with its number in bold, and goes on until
/// the next item, heading or empty line.
fn parse(contract: &str) -> Vec<(String, String)> {
    let mut rules: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for line in contract.lines() {
        if let Some((number, text)) = line
            .strip_prefix("- **")
            .and_then(|rest| rest.split_once("**"))
        {
            rules.push((number.to_owned(), text.trim().to_owned()));
            open = true;
        } else if line.trim().is_empty() || line.starts_with('#') {
            open = false;
        } else if open {
            if let Some((_, text)) = rules.last_mut() {
                text.push(' ');
                text.push_str(line.trim());
            }
        }
    }
    rules
}
