//! Data files that are refused, with the line, the value and the rule in the message.

use assay_text::rows::{ReadError, ReadLimits, read_conversations, read_prompts};

const GOOD: &str =
    r#"{"id": "a", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#;

fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

fn conversations(text: &str) -> Result<usize, String> {
    let file = written(text.as_bytes());
    read_conversations(file.path(), ReadLimits::default())
        .map(|rows| rows.len())
        .map_err(|error| error.to_string())
}

fn prompts(text: &str) -> Result<usize, String> {
    let file = written(text.as_bytes());
    read_prompts(file.path(), ReadLimits::default()).map(|rows| rows.len()).map_err(|error| error.to_string())
}

#[test]
fn good_files_and_their_defaults() {
    let file = written(
        format!("{GOOD}\r\n\n{}\n", GOOD.replace("\"id\": \"a\", ", "\"domain\": \"d\", \"extra\": 1, "))
            .as_bytes(),
    );
    let rows = read_conversations(file.path(), ReadLimits::default()).unwrap();
    assert_eq!((rows[0].id.as_str(), rows[1].id.as_str()), ("a", "line-3"));
    assert_eq!((rows[0].domain.as_deref(), rows[1].domain.as_deref()), (None, Some("d")));
    let file = written(br#"{"prompt": "p", "id": "x", "domain": "d", "split": "in-domain"}"#);
    let rows = read_prompts(file.path(), ReadLimits::default()).unwrap();
    assert_eq!((rows[0].prompt.as_str(), rows[0].split.as_deref()), ("p", Some("in-domain")));
}

#[test]
fn bad_conversations_name_line_value_and_rule() {
    let second = |line: &str| conversations(&format!("{GOOD}\n{line}\n")).unwrap_err();
    let message = |message: &str| second(&format!(r#"{{"id": "b", "messages": [{message}]}}"#));
    for (error, parts) in [
        (second("{broken"), ["line 2", "not JSON"]),
        (second("[1]"), ["[1]", "JSON object"]),
        (second(r#"{"text": "t"}"#), ["keys text", "`messages`"]),
        (second(r#"{"messages": []}"#), ["[]", "list of messages"]),
        (second(r#"{"messages": "m"}"#), ["\"m\"", "list of messages"]),
        (second(GOOD), ["id \"a\"", "line 1"]),
        (second(r#"{"id": 3, "messages": []}"#), ["`id` is 3", "text"]),
        (message(r#"{"role": "user", "content": "q"}"#), ["line 2", "`assistant`"]),
        (
            message(r#"{"role": "tool", "content": "q"}"#),
            ["messages[0]", "known are system, user and assistant"],
        ),
        (message(r#"{"role": "user"}"#), ["content missing", "text"]),
        (message(r#"{"role": "user", "content": ["q"]}"#), ["[\"q\"]", "text"]),
        (message(r#"{"role": "assistant", "content": " \n"}"#), ["assistant is empty", "messages[0]"]),
        (
            message(r#"{"role": "user", "content": "q"}, {"role": "system", "content": "s"}"#),
            ["messages[1]", "only the first"],
        ),
    ] {
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    assert!(conversations("").unwrap_err().contains("holds no rows"));
    assert!(conversations("\u{feff}{}").unwrap_err().contains("byte order mark"));
}

#[test]
fn bad_prompts_name_line_value_and_rule() {
    assert!(prompts(r#"{"text": "t"}"#).unwrap_err().contains("`prompt` must be there"));
    assert!(prompts(r#"{"prompt": "  "}"#).unwrap_err().contains("not empty"));
    assert!(prompts("{\"prompt\": \"a\"}\n{\"prompt\": 1}").unwrap_err().contains("line 2: `prompt` is 1"));
    assert!(
        prompts("{\"id\": \"x\", \"prompt\": \"a\"}\n{\"id\": \"x\", \"prompt\": \"b\"}")
            .unwrap_err()
            .contains("already on line 1")
    );
}

#[test]
fn limits_hold() {
    let file = written(format!("{GOOD}\n{}\n", GOOD.replace("\"a\", ", "\"b\", ")).as_bytes());
    let read =
        |line_bytes_max, rows_max| read_conversations(file.path(), ReadLimits { line_bytes_max, rows_max });
    assert_eq!(read(GOOD.len() as u64, 2).unwrap().len(), 2);
    assert!(read(GOOD.len() as u64 - 1, 2).unwrap_err().to_string().contains("longer than"));
    assert!(read(1000, 1).unwrap_err().to_string().contains("at most 1 rows"));
    let absent = read_prompts(std::path::Path::new("no/such/file"), ReadLimits::default());
    assert!(matches!(absent, Err(ReadError::Io { .. })));
    let binary = written(b"\xff\xfe{}");
    assert!(read_prompts(binary.path(), ReadLimits::default()).unwrap_err().to_string().contains("not JSON"));
}
