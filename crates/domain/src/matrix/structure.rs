//! Checks a tree against the schema generated from the types: unknown and missing fields, kinds, ranges, allowed words.
//!
//! Everything is reported, so a wrong part is replaced by a sound one and remembered as broken; later checks leave it alone.

use serde_json::Value as Json;

use super::rules::{Kind, allowed_words, name_rule, range_rule};
use super::yaml::{Entry, Node, Value};
use super::{MatrixError, Place, nearest};

/// The outcome of the structural checks.
pub(super) struct Structure<'a> {
    file: &'a str,
    schema: &'a Json,
    /// What is wrong.
    pub(super) errors: Vec<MatrixError>,
    /// Paths whose values are not the person's.
    pub(super) broken: Vec<String>,
}

impl<'a> Structure<'a> {
    /// Checks all of `root` and repairs it.
    pub(super) fn check(file: &'a str, schema: &'a Json, root: &mut Node) -> Self {
        let mut structure = Self { file, schema, errors: Vec::new(), broken: Vec::new() };
        structure.node(root, schema, "");
        structure
    }

    fn error(&mut self, place: Place, what: String, rule: String, nearest: Option<String>) {
        self.errors.push(MatrixError { file: self.file.to_owned(), place: Some(place), what, rule, nearest });
    }

    /// Reports a value and puts a sound one in its place.
    fn replace(&mut self, node: &mut Node, schema: &Json, path: &str, rule: String, nearest: Option<String>) {
        let what = format!("{} is {}", title(path), shown(&node.value));
        self.error(node.place, what, rule, nearest);
        node.value = self.sound(schema, node.place);
        self.broken.push(path.to_owned());
    }

    fn node(&mut self, node: &mut Node, schema: &'a Json, path: &str) {
        let options = self.options(schema);
        let kind = Kind::of(&node.value);
        let fitting: Vec<&'a Json> = options.iter().copied().filter(|option| kind.fits(option)).collect();
        match (fitting.as_slice(), &node.value) {
            ([], _) => {
                let rule = format!("{} is needed", expected(&options));
                self.replace(node, schema, path, rule, None);
            }
            (_, Value::Text(_)) => self.text(node, schema, &fitting, path),
            (_, Value::Map(_)) => self.map(node, schema, &fitting, path),
            ([only, ..], Value::List(_)) => self.list(node, only, path),
            ([only, ..], _) => {
                if let Some(rule) = range_rule(only, &node.value) {
                    self.replace(node, schema, path, format!("{rule} is needed"), None);
                }
            }
        }
    }

    fn text(&mut self, node: &mut Node, schema: &'a Json, options: &[&'a Json], path: &str) {
        let Value::Text(text) = &node.value else { return };
        let words: Vec<&str> = options.iter().flat_map(|option| allowed_words(option)).collect();
        if let Some(free) = options.iter().find(|option| allowed_words(option).is_empty()) {
            if let Some(rule) = name_rule(free, text) {
                self.replace(node, schema, path, rule, None);
            }
        } else if !words.contains(&text.as_str()) {
            let nearest = nearest(text, words.iter().copied());
            let others = options.iter().all(|option| !option["enum"].is_null()) || options.len() > 1;
            let rule = if others {
                format!("use {}", one_of(&words))
            } else {
                format!("{} is needed", one_of(&words))
            };
            self.replace(node, schema, path, rule, nearest);
        }
    }

    fn list(&mut self, node: &mut Node, schema: &'a Json, path: &str) {
        let Value::List(items) = &mut node.value else { return };
        let least = schema["minItems"].as_u64().unwrap_or(0) as usize;
        let item_schema = &schema["items"];
        let (place, count) = (node.place, items.len());
        for (index, item) in items.iter_mut().enumerate() {
            self.node(item, item_schema, &join(path, &index.to_string()));
        }
        if count < least {
            self.error(
                place,
                format!("{} is empty", title(path)),
                String::from("at least one is needed"),
                None,
            );
            let sound = Node { place, value: self.sound(item_schema, place) };
            items.push(sound);
            self.broken.push(path.to_owned());
        }
    }

    fn map(&mut self, node: &mut Node, schema: &'a Json, options: &[&'a Json], path: &str) {
        match self.choose(node, options, path) {
            Some(chosen) => self.fields(node, chosen, path),
            None => {
                node.value = self.sound(schema, node.place);
                self.broken.push(path.to_owned());
            }
        }
    }

    /// Which of several kinds of map it is: by its tag (`kind: api`), else by its only key (`epochs: [...]`).
    fn choose(&mut self, node: &Node, options: &[&'a Json], path: &str) -> Option<&'a Json> {
        let [first, _, ..] = options else { return options.first().copied() };
        let Some(tag) = tag_of(first) else { return self.choose_by_key(node, options, path) };
        let word = |option: &Json| option["properties"][tag]["const"].as_str().unwrap_or_default().to_owned();
        let words: Vec<String> = options.iter().map(|option| word(option)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let rule = format!("use {}", one_of(&words));
        let Some(given) = node.get(tag) else {
            self.error(node.place, format!("{} has no `{tag}`", title(path)), rule, None);
            return None;
        };
        let text = given.text().unwrap_or_default();
        let chosen = options.iter().zip(&words).find(|(_, word)| **word == text).map(|(option, _)| *option);
        if chosen.is_none() {
            let what = format!("{} is {}", title(&join(path, tag)), shown(&given.value));
            self.error(given.place, what, rule, nearest(text, words));
        }
        chosen
    }

    fn choose_by_key(&mut self, node: &Node, options: &[&'a Json], path: &str) -> Option<&'a Json> {
        let keys: Vec<&str> = options.iter().flat_map(|option| field_names(option)).collect();
        let Some(entry) = node.entries().first() else {
            let rule = format!("use {}", one_of(&keys));
            self.error(node.place, format!("{} is empty", title(path)), rule, None);
            return None;
        };
        let chosen = options.iter().find(|option| field_names(option).contains(&entry.key.as_str()));
        if chosen.is_none() {
            let rule = format!("{} has {}", title(path), list(&keys));
            let near = nearest(&entry.key, keys);
            self.error(entry.key_place, format!("unknown field `{}`", entry.key), rule, near);
        }
        chosen.copied()
    }

    fn fields(&mut self, node: &mut Node, schema: &'a Json, path: &str) {
        let place = node.place;
        let Value::Map(entries) = &mut node.value else { return };
        let names = field_names(schema);
        let open = schema["additionalProperties"].is_object() || schema["properties"].is_null();
        if !open {
            for unknown in entries.iter().filter(|entry| !names.contains(&entry.key.as_str())) {
                let rule = format!("{} has {}", title(path), list(&names));
                let near = nearest(&unknown.key, names.iter().copied());
                self.error(unknown.key_place, format!("unknown field `{}`", unknown.key), rule, near);
            }
            entries.retain(|entry| names.contains(&entry.key.as_str()));
        }
        // A field set to nothing is a field left out.
        entries.retain(|entry| !matches!(entry.node.value, Value::Null));
        for entry in entries.iter_mut() {
            let field = match schema["properties"].get(&entry.key) {
                Some(field) => field,
                None => &schema["additionalProperties"],
            };
            self.node(&mut entry.node, field, &join(path, &entry.key));
        }
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
        for name in required {
            if entries.iter().all(|entry| entry.key != name) {
                let field = &schema["properties"][name];
                let rule = format!("{} is needed", expected(&self.options(field)));
                self.error(place, format!("{} has no `{name}`", title(path)), rule, None);
                let node = Node { place, value: self.sound(field, place) };
                entries.push(Entry { key: name.to_owned(), key_place: place, node });
                self.broken.push(join(path, name));
            }
        }
    }

    /// The alternatives of a schema, references followed, without `null`.
    fn options(&self, schema: &'a Json) -> Vec<&'a Json> {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = reference.strip_prefix('#').and_then(|pointer| self.schema.pointer(pointer));
            return target.map(|target| self.options(target)).unwrap_or_default();
        }
        for word in ["oneOf", "anyOf"] {
            if let Some(options) = schema[word].as_array() {
                return options.iter().flat_map(|option| self.options(option)).collect();
            }
        }
        if schema["type"] == "null" { Vec::new() } else { vec![schema] }
    }

    /// A value that the schema accepts.
    fn sound(&self, schema: &'a Json, place: Place) -> Value {
        let options = self.options(schema);
        let Some(option) = options.first() else { return Value::Null };
        if let Some(word) = allowed_words(option).first() {
            return Value::Text((*word).to_owned());
        }
        match Kind::first_of(option) {
            Kind::Integer => Value::Int(option["minimum"].as_f64().unwrap_or(1.0) as i128),
            Kind::Number => Value::Float(option["minimum"].as_f64().unwrap_or(0.5)),
            Kind::Boolean => Value::Bool(false),
            Kind::Text => Value::Text(String::from("x")),
            Kind::List => Value::List(Vec::new()),
            Kind::Map => Value::Map(self.sound_fields(option, place)),
            Kind::Nothing => Value::Null,
        }
    }

    fn sound_fields(&self, schema: &'a Json, place: Place) -> Vec<Entry> {
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
        let sound = |name: &str| Entry {
            key: name.to_owned(),
            key_place: place,
            node: Node { place, value: self.sound(&schema["properties"][name], place) },
        };
        required.map(sound).collect()
    }
}

fn field_names(schema: &Json) -> Vec<&str> {
    schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

fn tag_of(schema: &Json) -> Option<&str> {
    let fields = schema["properties"].as_object()?;
    fields.iter().find(|(_, field)| field["const"].is_string()).map(|(name, _)| name.as_str())
}

fn expected(options: &[&Json]) -> String {
    let words: Vec<&str> = options.iter().flat_map(|option| allowed_words(option)).collect();
    let mut kinds: Vec<String> = if words.is_empty() { Vec::new() } else { vec![one_of(&words)] };
    for option in options.iter().filter(|option| allowed_words(option).is_empty()) {
        let named = match (Kind::first_of(option), field_names(option).as_slice()) {
            (Kind::Map, names) if options.len() > 1 && tag_of(option).is_none() => {
                format!("a map with {}", list(names))
            }
            (kind, _) => range_rule(option, &Value::Null).unwrap_or_else(|| kind.named().to_owned()),
        };
        if !kinds.contains(&named) {
            kinds.push(named);
        }
    }
    kinds.join(" or ")
}

/// `recipes[0].rank` in back quotes, or `the matrix`.
pub(super) fn title(path: &str) -> String {
    if path.is_empty() {
        return String::from("the matrix");
    }
    let mut text = String::new();
    for part in path.split('/') {
        match part.parse::<usize>() {
            Ok(index) => text.push_str(&format!("[{index}]")),
            Err(_) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(part);
            }
        }
    }
    format!("`{text}`")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::from("empty"),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Text(value) => format!("the text `{}`", value.chars().take(80).collect::<String>()),
        Value::List(_) => String::from("a list"),
        Value::Map(_) => String::from("a map"),
    }
}

/// A path with one more part.
pub(super) fn join(path: &str, part: &str) -> String {
    if path.is_empty() { part.to_owned() } else { format!("{path}/{part}") }
}

/// Names in back quotes.
pub(super) fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// `` `a` `` or `` one of `a`, `b` ``.
pub(super) fn one_of(names: &[&str]) -> String {
    if names.len() > 1 { format!("one of {}", list(names)) } else { list(names) }
}
