//! Reads JSON lines of conversations and prompts. Every refusal names the file, the line, the value and the rule.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use thiserror::Error;

use crate::chat::Message;

/// Bounds on what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Longest line; a longer one is refused.
    pub line_bytes_max: u64,
    /// Most rows; more are refused.
    pub rows_max: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { line_bytes_max: 16 << 20, rows_max: 1_000_000 }
    }
}

/// A conversation to train or validate on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// `id`, or `line-N`.
    pub id: String,
    /// `domain`, if given.
    pub domain: Option<String>,
    /// The messages, at least one of them an assistant's.
    pub messages: Vec<Message>,
}

/// An evaluation prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// `id`, or `line-N`.
    pub id: String,
    /// `domain`, if given.
    pub domain: Option<String>,
    /// `split`, if given, such as `in-domain`.
    pub split: Option<String>,
    /// The user's words.
    pub prompt: String,
}

/// Why a file was refused.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A line breaks a rule.
    #[error("{path}, line {line}: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The value and the rule.
        problem: String,
    },
    /// Nothing is in it.
    #[error("{path} holds no rows; it must have one JSON object per line")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Reads `{"messages": [{"role", "content"}], "id"?, "domain"?}` lines; other keys are ignored, blank lines passed over.
pub fn read_conversations(path: &Path, limits: ReadLimits) -> Result<Vec<Conversation>, ReadError> {
    read_rows(
        path,
        limits,
        |row, line| {
            Ok(Conversation {
                id: optional_text(row, "id")?.unwrap_or_else(|| format!("line-{line}")),
                domain: optional_text(row, "domain")?,
                messages: messages(row)?,
            })
        },
        |row: &Conversation| &row.id,
    )
}

/// Reads `{"prompt", "id"?, "domain"?, "split"?}` lines; other keys are ignored, blank lines passed over.
pub fn read_prompts(path: &Path, limits: ReadLimits) -> Result<Vec<Prompt>, ReadError> {
    read_rows(
        path,
        limits,
        |row, line| {
            let prompt = optional_text(row, "prompt")?;
            Ok(Prompt {
                id: optional_text(row, "id")?.unwrap_or_else(|| format!("line-{line}")),
                domain: optional_text(row, "domain")?,
                split: optional_text(row, "split")?,
                prompt: prompt
                    .ok_or_else(|| format!("has the keys {}; `prompt` must be there", keys(row)))?,
            })
        },
        |row: &Prompt| &row.id,
    )
}

fn read_rows<T>(
    path: &Path,
    limits: ReadLimits,
    parse: impl Fn(&Map<String, Value>, usize) -> Result<T, String>,
    id: impl Fn(&T) -> &str,
) -> Result<Vec<T>, ReadError> {
    let io = |source| ReadError::Io { path: path.to_path_buf(), source };
    let mut reader = BufReader::new(File::open(path).map_err(io)?);
    let mut rows = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for line in 1.. {
        let refuse = |problem: String| ReadError::Line { path: path.to_path_buf(), line, problem };
        let Some(bytes) = read_line(&mut reader, limits.line_bytes_max).map_err(io)? else {
            break;
        };
        if bytes.len() as u64 > limits.line_bytes_max {
            return Err(refuse(format!("is longer than {} bytes", limits.line_bytes_max)));
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if rows.len() == limits.rows_max {
            return Err(refuse(format!(
                "is row {}; at most {} rows are read",
                rows.len() + 1,
                limits.rows_max
            )));
        }
        let row = parse_line(&bytes).and_then(|row| parse(&row, line)).map_err(refuse)?;
        if let Some(first) = seen.insert(id(&row).to_owned(), line) {
            return Err(refuse(format!("the id {:?} is already on line {first}; ids must differ", id(&row))));
        }
        rows.push(row);
    }
    match rows.is_empty() {
        true => Err(ReadError::Empty { path: path.to_path_buf() }),
        false => Ok(rows),
    }
}

/// A line without its end, at most one byte longer than `most`; nothing at the end of the file.
fn read_line(reader: &mut impl BufRead, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = reader.by_ref().take(most + 2).read_until(b'\n', &mut bytes)?;
    if read == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(Some(bytes))
}

fn parse_line(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err("starts with a byte order mark; save the file as UTF-8 without one".to_owned());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(row)) => Ok(row),
        Ok(other) => Err(format!("is {}; it must be a JSON object", short(&other))),
        Err(error) => Err(format!("is not JSON ({error}): {}", shorten(&String::from_utf8_lossy(bytes)))),
    }
}

/// A text without whitespace only, if the key is there.
fn optional_text(row: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match row.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.clone())),
        Some(other) => Err(format!("`{key}` is {}; it must be a text that is not empty", short(other))),
    }
}

fn messages(row: &Map<String, Value>) -> Result<Vec<Message>, String> {
    let list = match row.get("messages") {
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(other) => return Err(format!("`messages` is {}; it must be a list of messages", short(other))),
        None => return Err(format!("has the keys {}; `messages` must be there", keys(row))),
    };
    let mut messages = Vec::new();
    for (index, message) in list.iter().enumerate() {
        messages.push(one_message(message, index).map_err(|problem| format!("messages[{index}] {problem}"))?);
    }
    match messages.iter().any(|message| message.role == "assistant") {
        true => Ok(messages),
        false => Err("no message has the role `assistant`; there is nothing to learn".to_owned()),
    }
}

fn one_message(message: &Value, index: usize) -> Result<Message, String> {
    let text = |key: &str| {
        let value = &message[key];
        value.as_str().ok_or_else(|| format!("has the {key} {}; it must be a text", short(value)))
    };
    let (role, content) = (text("role")?, text("content")?);
    match role {
        "user" | "assistant" => {}
        "system" if index == 0 => {}
        "system" => return Err("has the role \"system\"; only the first message may".to_owned()),
        other => {
            return Err(format!("has the role {}; known are system, user and assistant", shorten(other)));
        }
    }
    if role != "system" && content.trim().is_empty() {
        return Err(format!("of the {role} is empty"));
    }
    Ok(Message::new(role, content))
}

fn keys(row: &Map<String, Value>) -> String {
    let names: Vec<&str> = row.keys().map(String::as_str).collect();
    shorten(&names.join(", "))
}

fn short(value: &Value) -> String {
    if value.is_null() { "missing".to_owned() } else { shorten(&value.to_string()) }
}

/// At most 60 characters of a text.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
