//! `{% generation %}` tags, which Transformers adds to Jinja: rewritten to blocks that leave a mark in the text.

use std::ops::Range;

/// Private-use characters that stand where a generation block starts and ends.
pub(super) const START: char = '\u{10F8A1}';
pub(super) const END: char = '\u{10F8A2}';

pub(super) fn is_reserved(character: char) -> bool {
    matches!(character, START | END)
}

/// Whether the template has a generation block.
pub(super) fn is_used(source: &str) -> bool {
    let mut used = false;
    each_block(source, |_, word, _, _| used |= word == "generation");
    used
}

/// Replaces the tags by `{% if true %}MARK{% endif %}`, which is trimmed as a block of its own and opens no scope.
pub(super) fn rewrite(source: &str, start: &str, end: &str) -> String {
    let mut out = String::with_capacity(source.len() + 64);
    let mut copied = 0;
    each_block(source, |range, word, left, right| {
        let mark = match word {
            "generation" => start,
            "endgeneration" => end,
            _ => return,
        };
        out.push_str(&source[copied..range.start]);
        out.push_str(&format!("{{%{left} if true %}}{mark}{{% endif {right}%}}"));
        copied = range.end;
    });
    out.push_str(&source[copied..]);
    out
}

/// Takes the marks out of a rendered text; ranges are bytes of the text without marks.
pub(super) fn unmark(text: &str) -> (String, Vec<Range<usize>>) {
    let mut out = String::with_capacity(text.len());
    let mut ranges = Vec::new();
    let mut open = None;
    for character in text.chars() {
        match character {
            START => open = Some(out.len()),
            END => ranges.extend(open.take().map(|start| start..out.len())),
            other => out.push(other),
        }
    }
    (out, ranges)
}

/// Calls `visit(range, first word, left sign, right sign)` for every `{% ... %}`, passing over comments, expressions and strings.
fn each_block<'a>(source: &'a str, mut visit: impl FnMut(Range<usize>, &'a str, &'a str, &'a str)) {
    let mut at = 0;
    while let Some(found) = source[at..].find('{') {
        let open = at + found;
        let rest = &source[open..];
        let end = match rest.as_bytes().get(1) {
            Some(b'#') => rest.find("#}").map(|end| end + 2),
            Some(b'{') => close_of(rest, "}}"),
            Some(b'%') => close_of(rest, "%}"),
            _ => Some(1),
        };
        let Some(end) = end else {
            return;
        };
        if rest.starts_with("{%") {
            let inner = &rest[2..end - 2];
            let (left, inner) = split_sign(inner, true);
            let (right, inner) = split_sign(inner, false);
            visit(open..open + end, inner.trim(), left, right);
        }
        at = open + end;
    }
}

fn split_sign(inner: &str, first: bool) -> (&str, &str) {
    let has = |sign: &str| if first { inner.starts_with(sign) } else { inner.ends_with(sign) };
    match (has("-") || has("+"), first) {
        (false, _) => ("", inner),
        (true, true) => inner.split_at(1),
        (true, false) => {
            let (inner, sign) = inner.split_at(inner.len() - 1);
            (sign, inner)
        }
    }
}

/// End of a tag, not looking inside quoted strings.
fn close_of(rest: &str, close: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let mut at = 2;
    let mut quote = None;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (None, byte @ (b'"' | b'\'')) => quote = Some(byte),
            (Some(_), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (None, _) if rest.as_bytes()[at..].starts_with(close.as_bytes()) => {
                return Some(at + close.len());
            }
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_only_tags() {
        let source =
            "{# {% generation %} #}{{ '{% generation %}' }}{%- generation -%}x{% endgeneration %}{%if a%}%}";
        assert!(is_used(source));
        let out = rewrite(source, "<", ">");
        assert_eq!(
            out,
            "{# {% generation %} #}{{ '{% generation %}' }}{%- if true %}<{% endif -%}x{% if true %}>{% endif %}{%if a%}%}"
        );
        assert!(!is_used("{{ '{% generation %}' }} {% if generation %}"));
        assert_eq!(rewrite("{% broken", "<", ">"), "{% broken");
    }

    #[test]
    fn takes_marks_out() {
        let text = format!("ä{START}bc{END}d{START}{END}");
        assert_eq!(unmark(&text), ("äbcd".to_owned(), vec![2..4, 5..5]));
    }
}
