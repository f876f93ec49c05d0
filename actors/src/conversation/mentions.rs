//! Which usernames a text mentions.
//! Never who they are: the journal looks them up among the members.

use std::collections::BTreeSet;

/// The most names of one text that count.
const MOST: usize = 50;

/// The usernames after an `@` that begins a word, in lower case, each once.
pub fn names(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut before = None;
    for (at, c) in text.char_indices() {
        let begins_word = before.is_none_or(|c: char| !c.is_alphanumeric());
        before = Some(c);
        if c != '@' || !begins_word || found.len() == MOST {
            continue;
        }
        let rest = &text[at + 1..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len());
        // A full stop ends a sentence more often than a name.
        let name = rest[..end].trim_end_matches('.');
        if crate::protocol::check::username(name).is_ok() {
            found.insert(name.to_ascii_lowercase());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn names_stand_after_an_at_sign_that_begins_a_word() {
        let found = |text| names(text).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(found("@Ann, and (@bob.b). Not me@example.org, nor @x"), "ann bob.b");
        assert_eq!(found("@ann @ANN"), "ann");
        assert_eq!(found("no one"), "");
    }
}
