//! An SVG badge.

use fourway_suite::page::escape;

use super::{Grade, SubjectReport};

impl SubjectReport {
    /// A badge: the subject's level and the suite's version.
    #[must_use]
    pub fn to_badge(&self) -> String {
        let (text, colour) = match self.grade() {
            Grade::Extended => ("core + extended", "#2e7d32"),
            Grade::Core => ("core", "#558b2f"),
            Grade::Partial => ("run in part", "#757575"),
            Grade::None => ("not conformant", "#c62828"),
        };
        let label = "fourway conformance";
        // A version from a foreign report may hold any text.
        let text = format!("{text}, suite {}", self.run.suite_version);
        // About 6.5 units a character in an 11 unit sans-serif, and padding.
        let width = |text: &str| text.chars().count() * 13 / 2 + 12;
        let (left, right) = (width(label), width(&text));
        let total = left + right;
        let text = escape(&text);
        let (middle_left, middle_right) = (left / 2, left + right / 2);
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="20" role="img" aria-label="{label}: {text}">
<title>{label}: {text}</title>
<clipPath id="r"><rect width="{total}" height="20" rx="3"/></clipPath>
<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#444"/><rect x="{left}" width="{right}" height="20" fill="{colour}"/></g>
<g fill="#fff" text-anchor="middle" font-family="Verdana,Geneva,sans-serif" font-size="11">
<text x="{middle_left}" y="14">{label}</text><text x="{middle_right}" y="14">{text}</text>
</g></svg>
"##
        )
    }
}
