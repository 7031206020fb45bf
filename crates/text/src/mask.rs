//! Which tokens of a rendered conversation are an assistant's: for each turn what the model has to write after the
//! generation prompt, its end-of-turn token included. Templates with `{% generation %}` tags say it themselves.

mod locate;

use std::ops::Range;

use thiserror::Error;

use crate::chat::{ChatTemplate, Message, RenderOptions, TemplateError};
use crate::tokenizer::{Encoded, Tokenizer, TokenizerError};

/// Why no mask could be made.
#[derive(Debug, Error)]
pub enum MaskError {
    /// The template fails.
    #[error("cannot render the conversation")]
    Template(#[from] TemplateError),
    /// The tokenizer fails.
    #[error("cannot tokenize the conversation")]
    Tokenizer(#[from] TokenizerError),
    /// A turn is not where its text should be.
    #[error(
        "cannot tell where assistant turn {turn} lies in the rendered text: {reason}; put {{% generation %}} tags in the template or train on all tokens"
    )]
    NotFound {
        /// Number of the assistant's turn, from 1.
        turn: usize,
        /// What was looked for.
        reason: String,
    },
}

/// A rendered and tokenized conversation with its assistant mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    /// The rendered text.
    pub text: String,
    /// Token ids.
    pub ids: Vec<u32>,
    /// For each token, whether it is an assistant's.
    pub assistant: Vec<bool>,
}

/// Renders, tokenizes and masks a conversation. The template alone decides on first tokens: no token is added.
pub fn assistant_mask(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    messages: &[Message],
    options: &RenderOptions,
) -> Result<Masked, MaskError> {
    let (text, spans, exact) = match template.has_generation() {
        true => {
            let (text, spans) = template.render_marked(messages, options)?;
            (text, spans, true)
        }
        false => {
            let (text, spans) = locate::turns(template, messages, options)?;
            (text, spans, false)
        }
    };
    let encoded = tokenizer.encode_with_offsets(&text, false)?;
    let mut assistant = vec![false; encoded.ids.len()];
    let headers = if exact { Vec::new() } else { header_tokens(template, tokenizer, messages, options)? };
    for span in spans {
        let Some(tokens) = tokens_of(&encoded, &span) else {
            continue;
        };
        let end =
            if exact { tokens.end } else { end_of_turn(tokenizer, &encoded, &text, tokens.end, &headers) };
        assistant[tokens.start..end].fill(true);
    }
    Ok(Masked { text, ids: encoded.ids, assistant })
}

/// Tokens from the one that holds the first byte of the span to the one that holds the last, as Transformers'
/// `char_to_token`; the inner ones all count, though some tokenizers give whitespace an empty place.
fn tokens_of(encoded: &Encoded, span: &Range<usize>) -> Option<Range<usize>> {
    let overlaps = |place: &&Range<usize>| place.start < span.end && span.start < place.end;
    let first = encoded.offsets.iter().position(|place| overlaps(&place))?;
    let last = encoded.offsets.iter().rposition(|place| overlaps(&place))?;
    Some(first..last + 1)
}

/// Control tokens of a turn's header, which can never be its end.
fn header_tokens(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    messages: &[Message],
    options: &RenderOptions,
) -> Result<Vec<u32>, MaskError> {
    let prompt = locate::generation_prompt(template, messages, options);
    let ids = tokenizer.encode(&prompt, false)?;
    Ok(ids.into_iter().filter(|id| tokenizer.is_special(*id)).collect())
}

/// The token index after the end-of-turn token that follows a turn's text, maybe after whitespace; `after` if none does.
fn end_of_turn(tokenizer: &Tokenizer, encoded: &Encoded, text: &str, after: usize, headers: &[u32]) -> usize {
    for (index, id) in encoded.ids.iter().enumerate().skip(after) {
        if tokenizer.is_special(*id) {
            let ends = tokenizer.eos_ids().contains(id) || !headers.contains(id);
            return if ends { index + 1 } else { after };
        }
        let place = encoded.offsets[index].clone();
        if text.get(place).is_none_or(|text| !text.trim().is_empty()) {
            return after;
        }
    }
    after
}
