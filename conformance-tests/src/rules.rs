//! The words of the contract, by rule.

use std::sync::OnceLock;

/// The contract, as this version of the suite tests it.
pub const CONTRACT: &str = include_str!("../CONTRACT.md");

/// A rule of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// A number that never changes: `JO-2`.
    pub number: String,
    /// Its name: "destroyed before the join".
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The rule of this number, such as `JO-2`.
#[must_use]
pub fn rule(number: &str) -> Option<&'static Rule> {
    all().iter().find(|rule| rule.number == number)
}

/// The number with its name, `JO-2 destroyed before the join`; only the number if this version of
/// the contract does not have the rule.
#[must_use]
pub fn named(number: &str) -> String {
    match rule(number) {
        Some(rule) => format!("{number} {}", rule.name),
        None => number.to_owned(),
    }
}

/// All rules of the contract, in order.
#[must_use]
pub fn all() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(|| parse(CONTRACT))
}

/// Why no broken runtime makes the case fail, if none does.
///
/// All other cases are proven able to fail: see `docs/BROKEN-RUNTIMES.md` of the project.
#[must_use]
pub fn exemption(id: &str) -> Option<&'static str> {
    let (reason, _) = exemptions().iter().find(|(_, ids)| ids.contains(&id))?;
    Some(reason)
}

/// The cases that no broken runtime fails, by reason.
#[must_use]
pub fn exemptions() -> &'static [(&'static str, &'static [&'static str])] {
    crate::exempt::EXEMPT
}

/// A rule is a list item that begins with its number and name in bold, and goes on until
/// the next item, heading or empty line.
fn parse(contract: &str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut open = false;
    for line in contract.lines() {
        if let Some((title, text)) = line
            .strip_prefix("- **")
            .and_then(|rest| rest.split_once("**"))
        {
            let (number, name) = title.split_once(' ').unwrap_or((title, ""));
            rules.push(Rule {
                number: number.to_owned(),
                name: name.trim_end_matches('.').to_owned(),
                text: text.trim().to_owned(),
            });
            open = true;
        } else if line.trim().is_empty() || line.starts_with('#') {
            open = false;
        } else if open {
            if let Some(Rule { text, .. }) = rules.last_mut() {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(line.trim());
            }
        }
    }
    rules
}
