//! Names that code may have declared: [`Names`], for completion.
//!
//! `let`, `const` and `class` at top level make names that are not properties of the global object,
//! and the engine does not list them. So the words of executed code are candidates, and a
//! completion asks the engine which of them exist.

use std::collections::BTreeSet;

/// Text is kept unchanged up to this size: searching for words takes longer than keeping it, and
/// most sessions never complete.
const TEXT: usize = 16 * 1024;
const COUNT: usize = 2000;
const LONGEST: usize = 100;

#[derive(Default)]
pub(crate) struct Names {
    text: String,
    words: BTreeSet<String>,
}

impl Names {
    /// Code that is executed.
    pub(crate) fn note(&mut self, code: &str) {
        if ["let", "const", "class"]
            .iter()
            .any(|keyword| code.contains(keyword))
        {
            self.text.push_str(code);
            self.text.push('\n');
            if self.text.len() > TEXT {
                self.sort();
            }
        }
    }

    /// Candidates.
    pub(crate) fn starting_with(&mut self, prefix: &str) -> Vec<String> {
        self.sort();
        let from = self.words.range(prefix.to_owned()..);
        from.take_while(|word| word.starts_with(prefix))
            .cloned()
            .collect()
    }

    fn sort(&mut self) {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
        let text = std::mem::take(&mut self.text);
        for word in text.split(|c| !is_part(c)) {
            let is_name = word.starts_with(|c: char| !c.is_numeric()) && word.len() <= LONGEST;
            if is_name && self.words.len() < COUNT && !self.words.contains(word) {
                self.words.insert(word.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_declarations_are_found_and_bounded() {
        let mut names = Names::default();
        names.note("let alpha = 1, größe = alpha + 2e5; const { beta: [gamma] } = {}");
        names.note("call(delta)");
        assert_eq!(names.starting_with("al"), ["alpha"]);
        assert_eq!(names.starting_with("gr"), ["größe"]);
        assert_eq!(names.starting_with("gamm"), ["gamma"]);
        // It declares nothing.
        assert_eq!(names.starting_with("del"), [""; 0]);
        for round in 0..10_000 {
            names.note(&format!("let n{round} = 1 // {}", "x".repeat(200)));
        }
        assert!(names.words.len() <= COUNT && names.text.len() <= TEXT + 300);
        assert_eq!(names.starting_with("n17"), names.starting_with("n17"));
        assert!(names.starting_with("n17").contains(&"n17".to_owned()));
        assert!(!names.words.iter().any(|word| word.len() > LONGEST));
    }
}
