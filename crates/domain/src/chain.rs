//! How an error is told where it is consumed: with its causes, in one line.

use std::error::Error;

/// An error and all its sources, from the outermost in, with `: ` between them.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{what}")]
    struct Layer {
        what: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn every_cause_is_told_from_the_outermost_in() {
        let layer = |what, source: Option<Layer>| Layer { what, source: source.map(Box::new) };
        let error = layer("no start", Some(layer("no journal", Some(layer("disk full", None)))));
        assert_eq!(chain(&error), "no start: no journal: disk full");
        assert_eq!(chain(&layer("disk full", None)), "disk full");
    }
}
