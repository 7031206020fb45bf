//! Finds the assistant's turns in a rendered conversation when the template has no tags for them.
//! First with sentinels in place of the contents; where the template changes with the contents (thinking blocks), by
//! walking the text from message to message.

use std::ops::Range;

use super::MaskError;
use crate::chat::{ChatTemplate, Message, RenderOptions};

const ASSISTANT: &str = "assistant";

type Located = (String, Vec<Range<usize>>);

/// The rendered text and the byte range of every assistant turn: from the end of the generation prompt to the end of
/// its content.
pub(super) fn turns(
    template: &ChatTemplate,
    messages: &[Message],
    options: &RenderOptions,
) -> Result<Located, MaskError> {
    let text = template.render(messages, options)?;
    let headers = Headers {
        plain: generation_prompt(template, messages, &without_thinking_switch(options)),
        full: generation_prompt(template, messages, options),
    };
    if let Some(spans) = by_sentinels(template, &text, messages, options, &headers) {
        return Ok((text, spans));
    }
    let spans = by_walking(&text, messages, &headers)?;
    Ok((text, spans))
}

/// What the template writes to start an assistant's turn; empty when it writes nothing (or cannot be asked).
pub(super) fn generation_prompt(
    template: &ChatTemplate,
    messages: &[Message],
    options: &RenderOptions,
) -> String {
    let before_answer =
        messages.iter().position(|message| message.role == ASSISTANT).unwrap_or(messages.len());
    let render = |add_generation_prompt| {
        let options = RenderOptions { add_generation_prompt, ..options.clone() };
        template.render(&messages[..before_answer], &options).ok()
    };
    match (render(false), render(true)) {
        (Some(without), Some(with)) => with.strip_prefix(without.as_str()).unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

fn without_thinking_switch(options: &RenderOptions) -> RenderOptions {
    let mut options = options.clone();
    options.kwargs.remove("enable_thinking");
    options
}

/// The generation prompt as asked for, and without the empty thinking block that a switch adds to it.
struct Headers {
    plain: String,
    full: String,
}

impl Headers {
    /// Where a turn starts whose content starts at `content`, not before `from`: after its header, or at the content when
    /// there is no header between. What the template writes between the two (an empty thinking block) is the turn's.
    fn turn_start(&self, text: &str, from: usize, content: usize) -> usize {
        for header in [&self.full, &self.plain] {
            if !header.is_empty()
                && let Some(at) = text[from..content].rfind(header.as_str())
            {
                return from + at + header.len();
            }
        }
        content
    }
}

fn sentinel(turn: usize) -> String {
    format!("\u{10F8A3}{turn}\u{10F8A4}")
}

fn by_sentinels(
    template: &ChatTemplate,
    text: &str,
    messages: &[Message],
    options: &RenderOptions,
    headers: &Headers,
) -> Option<Vec<Range<usize>>> {
    let mut contents = Vec::new();
    let mut replaced = messages.to_vec();
    for message in replaced.iter_mut().filter(|message| message.role == ASSISTANT) {
        let content = std::mem::replace(&mut message.content, sentinel(contents.len()));
        contents.push(content);
    }
    let probe = template.render(&replaced, options).ok()?;
    let literals = split_at_sentinels(&probe, contents.len())?;
    let mut at = 0;
    let mut spans = Vec::new();
    for (turn, content) in contents.iter().enumerate() {
        let from = at;
        at += text[at..].starts_with(literals[turn]).then_some(literals[turn].len())?;
        let last = turn + 1 == contents.len();
        let next = literals[turn + 1];
        let shown = [content.as_str(), content.trim_end(), content.trim_start(), content.trim()]
            .into_iter()
            .find(|shown| {
                let rest = text[at..].strip_prefix(*shown);
                rest.is_some_and(|rest| if last { rest == next } else { rest.starts_with(next) })
            })?;
        spans.push(headers.turn_start(text, from, at)..at + shown.len());
        at += shown.len();
    }
    Some(spans)
}

/// The texts before, between and after the sentinels, each of which must come once and in order.
fn split_at_sentinels(probe: &str, turns: usize) -> Option<Vec<&str>> {
    let mut literals = Vec::new();
    let mut rest = probe;
    for turn in 0..turns {
        let (before, after) = rest.split_once(&sentinel(turn))?;
        literals.push(before);
        rest = after;
    }
    literals.push(rest);
    literals.iter().all(|literal| !literal.contains('\u{10F8A3}')).then_some(literals)
}

/// Passes over every message in order; text of a thinking block may be rewritten, the answer after it may not.
fn by_walking(text: &str, messages: &[Message], headers: &Headers) -> Result<Vec<Range<usize>>, MaskError> {
    let mut at = 0;
    let mut spans = Vec::new();
    for message in messages {
        let is_assistant = message.role == ASSISTANT;
        let turn = spans.len() + 1;
        let wanted = if is_assistant { answer(&message.content) } else { message.content.trim() };
        // The answer must lie after the header of its turn, or a word of the header could be taken for it.
        let from = match is_assistant && !headers.plain.is_empty() {
            true => text[at..].find(&headers.plain).map(|found| at + found + headers.plain.len()),
            false => Some(at),
        };
        let from = from.ok_or_else(|| not_found(turn, "no header", &headers.plain))?;
        let content = text[from..].find(wanted).map(|found| from + found);
        let content =
            content.ok_or_else(|| not_found(turn, "a message is not in the text as it was given", wanted))?;
        if is_assistant {
            spans.push(headers.turn_start(text, at, content)..content + wanted.len());
        }
        at = content + wanted.len();
    }
    Ok(spans)
}

fn not_found(turn: usize, what: &str, wanted: &str) -> MaskError {
    let start: String = wanted.chars().take(40).collect();
    MaskError::NotFound { turn, reason: format!("{what} ({start:?})") }
}

/// What follows the last thinking block.
fn answer(content: &str) -> &str {
    content.rsplit("</think>").next().unwrap_or(content).trim()
}
