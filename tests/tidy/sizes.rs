//! No Rust file over 600 lines, no function over 70: what grows past that has more than one subject.

use crate::tree::texts;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn files_are_short() {
    let long: Vec<_> = texts()
        .iter()
        .filter(|text| text.extension() == "rs")
        .map(|text| (text.content.lines().count(), text.path.clone()))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "files over {FILE_LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for text in texts().iter().filter(|text| text.extension() == "rs") {
        for function in functions(&text.content).into_iter().filter(|found| found.lines > FUNCTION_LINES_MAX)
        {
            long.push(format!("{}:{}: `{}` has {}", text.path, function.at, function.name, function.lines));
        }
    }
    assert!(long.is_empty(), "functions over {FUNCTION_LINES_MAX} lines:\n{}", long.join("\n"));
}

struct Function {
    name: String,
    /// The line of its `fn`, from 1.
    at: usize,
    /// From the line of its `fn` to its closing brace.
    lines: usize,
}

/// Relies on rustfmt, which `cargo xtask test` checks first: a body ends at a lone `}` as far in as its `fn`.
fn functions(source: &str) -> Vec<Function> {
    let lines: Vec<_> = source.lines().collect();
    let starts = lines.iter().enumerate().filter_map(|(index, line)| Some((index, function_name(line)?)));
    starts
        .filter_map(|(index, name)| {
            let lines = lines_until_end(&lines[index..])?;
            Some(Function { name: name.to_owned(), at: index + 1, lines })
        })
        .collect()
}

/// The name, where the line begins a function.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let qualifiers = before.split_whitespace().all(|word| {
        word.starts_with("pub")
            || word.starts_with('"')
            || ["const", "async", "unsafe", "extern", "in"].contains(&word)
            || word.ends_with(')')
    });
    let name = after.split(['(', '<']).next()?;
    (qualifiers && !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then_some(name)
}

/// `None` for a declaration without a body.
fn lines_until_end(lines: &[&str]) -> Option<usize> {
    let indent = indent(lines.first()?);
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| self::indent(line) == indent) {
        match line.trim_end() {
            line if line.trim() == "}" => return Some(index + 1),
            line if line.ends_with(';') => return None,
            line if line.ends_with('}') => return Some(index + 1),
            _ => {}
        }
    }
    None
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[test]
fn the_measure_sees_what_it_should() {
    let long = format!(
        "impl A {{\n    pub(crate) async fn long(\n        a: u8,\n    ) -> u8\n    {{\n{}    }}\n}}\n",
        "        a;\n".repeat(66)
    );
    let found = functions(&long);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].name.as_str(), found[0].at, found[0].lines), ("long", 2, 71));

    let others = "trait T {\n    fn declared(&self);\n    fn empty(&self) {}\n}\nfn two() -> [u8; 2] {\n    [0; 2]\n}\nlet f = |x| a_fn (x);\n";
    let found: Vec<_> =
        functions(others).into_iter().map(|function| (function.name, function.lines)).collect();
    assert_eq!(found, [("empty".to_owned(), 1), ("two".to_owned(), 3)]);
}
