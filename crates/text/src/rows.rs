//! Training rows and evaluation prompts: from lines of JSON to token ids and labels.

mod read;
mod runs;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::chat::{ChatTemplate, Message, RenderOptions};
use crate::mask::{MaskError, assistant_mask};
use crate::tokenizer::Tokenizer;
pub use read::{Conversation, Prompt, ReadError, ReadLimits, read_conversations, read_prompts};
pub use runs::Run;

/// Label of a token that is not trained on.
pub const IGNORED: i64 = -100;

/// Which tokens give loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossOn {
    /// Every token of the rendered conversation, as the method.
    #[default]
    All,
    /// Every assistant turn's content and its end-of-turn token.
    Assistant,
}

/// How conversations become rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowSettings {
    /// Rows are cut on the right to this many tokens.
    pub max_length: usize,
    /// Which tokens give loss.
    pub loss_on: LossOn,
    /// Tokenizes as TRL 0.24 did with pre-rendered text: the end-of-sequence token is appended to a text that does not end
    /// with it, and the tokenizer puts its first token before a text that has one already.
    pub reference_quirks: bool,
    /// Template options; a generation prompt is never added to training rows.
    pub render: RenderOptions,
}

/// One training row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainRow {
    /// The conversation's id.
    pub id: String,
    /// Token ids, at most `max_length`.
    pub ids: Vec<u32>,
    /// For each token, whether its prediction gives loss.
    pub trained: Vec<bool>,
    /// Tokens before the row was cut.
    pub full_length: usize,
}

impl TrainRow {
    /// Labels as models take them: the token's own id, or [`IGNORED`]. They are not shifted.
    pub fn labels(&self) -> Vec<i64> {
        let label = |(id, trained): (&u32, &bool)| if *trained { i64::from(*id) } else { IGNORED };
        self.ids.iter().zip(&self.trained).map(label).collect()
    }

    /// Trained tokens that are predicted: the first token of a row never is. May be 0 in a row whose answer was cut away.
    pub fn predicted(&self) -> usize {
        self.trained.iter().skip(1).filter(|trained| **trained).count()
    }

    /// Whether tokens were cut off.
    pub fn is_cut(&self) -> bool {
        self.full_length > self.ids.len()
    }
}

/// Why a conversation gives no row.
#[derive(Debug, Error)]
#[error("conversation {id:?} gives no training row")]
pub struct RowError {
    /// The conversation.
    pub id: String,
    /// Why.
    #[source]
    pub source: MaskError,
}

/// Renders and tokenizes one conversation. By default the ids are those of Transformers' `apply_chat_template`
/// (and of TRL 1.x for data sets with `messages`): the rendered text, and no token that the template does not write.
pub fn training_row(
    conversation: &Conversation,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    settings: &RowSettings,
) -> Result<TrainRow, RowError> {
    let error = |source| RowError { id: conversation.id.clone(), source };
    let options = RenderOptions { add_generation_prompt: false, ..settings.render.clone() };
    let messages = &conversation.messages;
    let (mut ids, mut trained) = match settings.loss_on {
        LossOn::All => {
            let ids = all_tokens(messages, template, tokenizer, &options, settings.reference_quirks)
                .map_err(error)?;
            let trained = vec![true; ids.len()];
            (ids, trained)
        }
        LossOn::Assistant => {
            let masked = assistant_mask(template, tokenizer, messages, &options).map_err(error)?;
            (masked.ids, masked.assistant)
        }
    };
    let full_length = ids.len();
    ids.truncate(settings.max_length);
    trained.truncate(settings.max_length);
    Ok(TrainRow { id: conversation.id.clone(), ids, trained, full_length })
}

fn all_tokens(
    messages: &[Message],
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    options: &RenderOptions,
    reference_quirks: bool,
) -> Result<Vec<u32>, MaskError> {
    let mut text = template.render(messages, options)?;
    if !reference_quirks {
        return Ok(tokenizer.encode(&text, false)?);
    }
    if let Some(eos) = &tokenizer.special_tokens().eos
        && !text.ends_with(eos.as_str())
    {
        text.push_str(eos);
    }
    Ok(tokenizer.encode(&text, true)?)
}

/// Token ids of a prompt for generation: the rendered messages with the header of the assistant's turn.
pub fn prompt_ids(
    messages: &[Message],
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    options: &RenderOptions,
) -> Result<Vec<u32>, MaskError> {
    let options = RenderOptions { add_generation_prompt: true, ..options.clone() };
    let text = template.render(messages, &options)?;
    Ok(tokenizer.encode(&text, false)?)
}

/// Token ids of a prompt whose answer is begun: the generation prompt followed by `prefill`, for log-probability judging.
pub fn prefilled_ids(
    messages: &[Message],
    prefill: &str,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    options: &RenderOptions,
) -> Result<Vec<u32>, MaskError> {
    let options = RenderOptions { add_generation_prompt: true, ..options.clone() };
    let mut text = template.render(messages, &options)?;
    text.push_str(prefill);
    Ok(tokenizer.encode(&text, false)?)
}
