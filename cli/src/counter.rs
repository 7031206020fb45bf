//! Tokens of conversations and prompts: by the model's own tokenizer and template, or estimated where its folder has neither.

use assay_domain::matrix::Model;
use assay_text::chat::{ChatTemplate, Message, RenderOptions};
use assay_text::rows::{self, Conversation, LossOn, RowSettings};
use assay_text::tokenizer::Tokenizer;

use crate::source::ModelSource;

/// Characters of English prose in one token, rounded down, and tokens that a template adds to each message, rounded up:
/// an estimate that is rather too high.
const CHARS_PER_TOKEN: usize = 4;
const TOKENS_PER_MESSAGE: usize = 8;

/// Counts tokens for one model.
pub(crate) enum Counter {
    /// As the worker will.
    Own {
        /// The model's tokenizer.
        tokenizer: Box<Tokenizer>,
        /// The model's chat template.
        template: Box<ChatTemplate>,
        /// What the matrix says of the template.
        render: Box<RenderOptions>,
    },
    /// From characters.
    Estimated,
}

impl Counter {
    /// Opens a model's tokenizer and template.
    pub(crate) fn open(source: &ModelSource, model: &Model) -> anyhow::Result<Counter> {
        let folder = source.open()?;
        let tokenizer = folder.tokenizer()?;
        let template = folder.template(&tokenizer)?;
        let render = Box::new(render_options(model)?);
        Ok(Counter::Own { tokenizer: Box::new(tokenizer), template: Box::new(template), render })
    }

    /// The uncut length of a conversation.
    pub(crate) fn row(&self, row: &Conversation) -> anyhow::Result<u32> {
        match self {
            Counter::Own { tokenizer, template, render } => {
                let settings = RowSettings {
                    max_length: usize::MAX,
                    loss_on: LossOn::All,
                    reference_quirks: false,
                    render: (**render).clone(),
                };
                Ok(rows::training_row(row, template, tokenizer, &settings)?.full_length as u32)
            }
            Counter::Estimated => Ok(estimate(&row.messages)),
        }
    }

    /// The length of a prompt, rendered for an answer.
    pub(crate) fn prompt(&self, messages: &[Message]) -> anyhow::Result<u32> {
        match self {
            Counter::Own { tokenizer, template, render } => {
                Ok(rows::prompt_ids(messages, template, tokenizer, render)?.len() as u32)
            }
            Counter::Estimated => Ok(estimate(messages)),
        }
    }
}

/// How a matrix has a model's conversations rendered.
pub(crate) fn render_options(model: &Model) -> anyhow::Result<RenderOptions> {
    Ok(RenderOptions::for_model(model.date.as_deref(), model.thinking)?)
}

fn estimate(messages: &[Message]) -> u32 {
    let of =
        |message: &Message| message.content.chars().count().div_ceil(CHARS_PER_TOKEN) + TOKENS_PER_MESSAGE;
    messages.iter().map(of).sum::<usize>() as u32
}
