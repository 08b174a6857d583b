//! Keys, names and prefixes as a terminal shows them: they may hold anything, and a terminal is to obey none of it.

/// The text with what is no printable character escaped, line ends included.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' | '\'' | '\\' => escaped.push(char),
            char => escaped.extend(char.escape_debug()),
        }
    }
    escaped
}
