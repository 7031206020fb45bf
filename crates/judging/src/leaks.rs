//! What in a response could tell a judge who wrote it, or speaks to the judge itself. Found and reported, never taken out.
//!
//! Chatbot Arena drops battles in which a response names itself; a response that gives a verdict of its own is known to turn
//! judges.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// What kind of trace it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakKind {
    /// A model's or lab's name, or "as an AI".
    Identity,
    /// A token of a chat template.
    ChatToken,
    /// A verdict, as a judge would write it.
    Verdict,
}

/// One trace in a response.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Leak {
    /// What kind.
    pub kind: LeakKind,
    /// The words found, in lower case.
    pub found: String,
}

/// Names as whole words, in lower case; of labs, only those that are no everyday words.
const NAMES: [&str; 24] = [
    "as an ai",
    "i am an ai",
    "i'm an ai",
    "language model",
    "ai assistant",
    "openai",
    "chatgpt",
    "gpt-3",
    "gpt-4",
    "gpt-5",
    "anthropic",
    "deepmind",
    "google gemini",
    "gemini pro",
    "qwen",
    "alibaba cloud",
    "llama",
    "meta ai",
    "mistral ai",
    "smollm",
    "hugging face",
    "huggingface",
    "deepseek",
    "phi-3",
];

const CHAT_TOKENS: [&str; 14] = [
    "<|im_start|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|endoftext|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|begin_of_text|>",
    "<|assistant|>",
    "<|user|>",
    "<|end|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[inst]",
    "[/inst]",
];

const VERDICTS: [&str; 9] = [
    "\"winner\"",
    "winner: a",
    "winner: b",
    "winner: response",
    "winner: 1",
    "winner: 2",
    "[[a]]",
    "[[b]]",
    "the better response is response",
];

/// The traces in a response, each once.
#[must_use]
pub fn scan(response: &str) -> Vec<Leak> {
    let text = response.to_lowercase().replace(['*', '_'], "");
    let mut found = Vec::new();
    let lists = [
        (LeakKind::Identity, NAMES.as_slice()),
        (LeakKind::ChatToken, &CHAT_TOKENS),
        (LeakKind::Verdict, &VERDICTS),
    ];
    for (kind, list) in lists {
        // A token's own underscores went with Markdown's.
        let is_in = |word: &&&str| match kind {
            LeakKind::Identity => has_word(&text, word),
            LeakKind::ChatToken | LeakKind::Verdict => text.contains(&word.replace('_', "")),
        };
        found.extend(list.iter().filter(is_in).map(|word| Leak { kind, found: (*word).to_owned() }));
    }
    found
}

/// Whether the text has the words with no letter or digit beside them: `llama`, not `llamas`.
fn has_word(text: &str, word: &str) -> bool {
    let beside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    text.match_indices(word).any(|(at, _)| {
        !beside(text[..at].chars().next_back()) && !beside(text[at + word.len()..].chars().next())
    })
}
