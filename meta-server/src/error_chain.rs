//! An error as one line of text, for people and for logs.

use std::error::Error;

/// The error and its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Many errors repeat their cause in their own message, at its end or in the middle.
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot do it{said}")]
    struct Outer {
        said: &'static str,
        source: io::Error,
    }

    #[test]
    fn every_cause_is_told_once() {
        for (said, expected) in [
            ("", "cannot do it: no room"),
            (": no room", "cannot do it: no room"),
            (": no room, and nothing was lost", "cannot do it: no room, and nothing was lost"),
        ] {
            let source = io::Error::other("no room");
            assert_eq!(chain(&Outer { said, source }), expected);
        }
    }
}
