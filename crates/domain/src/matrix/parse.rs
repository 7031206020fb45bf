//! From text to a checked matrix: read, lay the variant over, check the structure, then the meaning.

use std::collections::BTreeMap;

use super::structure::{Structure, join, list, title};
use super::yaml::{self, Entry, Node, Value};
use super::{Matrix, MatrixError, Place, Places, meaning, nearest};

/// The longest matrix file, in bytes.
pub const MATRIX_BYTES_MAX: usize = 1 << 20;

/// Reads and checks a matrix file, with one of its variants laid over it. The file's other variants are checked too.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn parse(file_name: &str, text: &str, variant: Option<&str>) -> Result<Matrix, Vec<MatrixError>> {
    let whole = |place, what, rule: &str| MatrixError {
        file: file_name.to_owned(),
        place,
        what,
        rule: rule.to_owned(),
        nearest: None,
    };
    if text.len() > MATRIX_BYTES_MAX {
        let what = format!("the file has {} bytes", text.len());
        return Err(vec![whole(None, what, "1 MiB at most: keep data in files of their own")]);
    }
    let mut root = yaml::read(text)
        .map_err(|bad| vec![whole(bad.place, bad.what, "valid YAML is needed, each key once")])?;
    let schema = super::json_schema();
    let mut errors = Vec::new();
    let variants = take_variants(file_name, &mut root, &mut errors);
    if let Some(name) = variant.filter(|name| variants.iter().all(|(known, _)| known != name)) {
        let names: Vec<&str> = variants.iter().map(|(name, _)| name.as_str()).collect();
        let rule = if names.is_empty() {
            String::from("the file has none")
        } else {
            format!("it has {}", list(&names))
        };
        let error = whole(None, format!("the file has no variant `{name}`"), &rule);
        errors.push(MatrixError { nearest: nearest(name, names), ..error });
    }
    let (mut matrix, found) = check(file_name, &schema, root.clone());
    errors.extend(found);
    for (name, overlay) in variants {
        let mut merged = root.clone();
        lay_over(&mut merged, overlay);
        let (varied, found) = check(file_name, &schema, merged);
        errors.extend(found);
        if variant == Some(name.as_str()) {
            matrix = varied;
        }
    }
    errors.sort_by(|a, b| (a.place, &a.what).cmp(&(b.place, &b.what)));
    errors.dedup();
    match matrix {
        Some(matrix) if errors.is_empty() => Ok(matrix),
        _ => Err(errors),
    }
}

/// One reading of the file: the matrix when its structure allows one, and all errors.
fn check(file: &str, schema: &serde_json::Value, mut root: Node) -> (Option<Matrix>, Vec<MatrixError>) {
    let Structure { mut errors, broken, .. } = Structure::check(file, schema, &mut root);
    let mut by_path = BTreeMap::new();
    places(&root, "", &mut by_path);
    match serde_json::from_value::<Matrix>(root.to_json()) {
        Ok(mut matrix) => {
            matrix.places = Places::new(file, by_path);
            errors.extend(meaning::check(&matrix, &broken));
            (Some(matrix), errors)
        }
        Err(_) if !errors.is_empty() => (None, errors),
        Err(error) => {
            let (place, rule) = (Some(root.place), String::from("a matrix as in examples/ is needed"));
            errors.push(MatrixError {
                file: file.to_owned(),
                place,
                what: error.to_string(),
                rule,
                nearest: None,
            });
            (None, errors)
        }
    }
}

fn places(node: &Node, path: &str, by_path: &mut BTreeMap<String, Place>) {
    by_path.insert(path.to_owned(), node.place);
    match &node.value {
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &join(path, &index.to_string()), by_path);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                places(&entry.node, &join(path, &entry.key), by_path);
            }
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {}
    }
}

/// Takes the overlays out of the tree: they are parts of a matrix, not one.
fn take_variants(file: &str, root: &mut Node, errors: &mut Vec<MatrixError>) -> Vec<(String, Node)> {
    let Value::Map(entries) = &mut root.value else { return Vec::new() };
    let Some(index) = entries.iter().position(|entry| entry.key == "variants") else { return Vec::new() };
    let taken = entries.remove(index).node;
    let mut wrong = |place, what| {
        let rule =
            String::from("a map of overlays by name is needed, each a partial matrix without variants");
        errors.push(MatrixError { file: file.to_owned(), place: Some(place), what, rule, nearest: None });
    };
    let Value::Map(overlays) = taken.value else {
        wrong(taken.place, format!("{} is no map", title("variants")));
        return Vec::new();
    };
    let mut variants = Vec::new();
    for Entry { key, node, .. } in overlays {
        let path = join("variants", &key);
        if !matches!(node.value, Value::Map(_)) {
            wrong(node.place, format!("{} is no map", title(&path)));
        } else if let Some(inner) = node.get("variants") {
            wrong(inner.place, format!("{} has variants of its own", title(&path)));
        } else {
            variants.push((key, node));
        }
    }
    variants
}

/// Maps are merged, lists of named items are merged by name, `null` takes a field away, anything else replaces.
fn lay_over(base: &mut Node, over: Node) {
    match (&mut base.value, over.value) {
        (Value::Map(fields), Value::Map(changes)) => {
            for change in changes {
                let known = fields.iter_mut().find(|field| field.key == change.key);
                match (known, &change.node.value) {
                    (_, Value::Null) => fields.retain(|field| field.key != change.key),
                    (Some(field), _) => lay_over(&mut field.node, change.node),
                    (None, _) => fields.push(change),
                }
            }
        }
        (Value::List(items), Value::List(changes)) if all_named(items) && all_named(&changes) => {
            for change in changes {
                let name = change.get("name").and_then(Node::text);
                match items.iter_mut().find(|item| item.get("name").and_then(Node::text) == name) {
                    Some(item) => lay_over(item, change),
                    None => items.push(change),
                }
            }
        }
        (_, value) => *base = Node { place: over.place, value },
    }
}

fn all_named(items: &[Node]) -> bool {
    !items.is_empty() && items.iter().all(|item| item.get("name").and_then(Node::text).is_some())
}
