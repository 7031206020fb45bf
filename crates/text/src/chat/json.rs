//! `tojson` as Transformers has it: Python's `json.dumps` with `ensure_ascii=False`, nothing escaped for HTML.

use std::io;

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{Formatter, PrettyFormatter};

const INDENT_MAX: usize = 16;

pub(super) fn tojson(value: &Value, indent: Option<Value>, options: &Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => indent,
        None => options.get::<Option<Value>>("indent")?.unwrap_or_default(),
    };
    if options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson(ensure_ascii=true) is not supported"));
    }
    options.assert_all_used()?;
    if indent.is_none() || indent.is_undefined() {
        return write(value, OneLine);
    }
    let width = usize::try_from(indent)?;
    if width > INDENT_MAX {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("tojson(indent={width}); at most {INDENT_MAX}"),
        ));
    }
    write(value, PrettyFormatter::with_indent(" ".repeat(width).as_bytes()))
}

fn write(value: &Value, formatter: impl Formatter) -> Result<String, Error> {
    let mut out = Vec::new();
    let failed =
        |error: &dyn std::fmt::Display| Error::new(ErrorKind::InvalidOperation, format!("tojson: {error}"));
    value.serialize(&mut Serializer::with_formatter(&mut out, formatter)).map_err(|error| failed(&error))?;
    String::from_utf8(out).map_err(|error| failed(&error))
}

/// `", "` and `": "` between values, as Python writes.
struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}
