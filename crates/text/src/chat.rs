//! Hugging Face chat templates: Jinja as Transformers sets it up, with the date given and not read from a clock.

mod date;
mod generation;
mod json;

use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind, Value};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::tokenizer::SpecialTokens;
pub use date::{CivilDate, DateError};

/// Steps of the template engine for one conversation; a template that needs more does not end.
const FUEL_MAX: u64 = 50_000_000;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Such as `system`, `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
}

impl Message {
    /// A message of a role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// What a rendering depends on beside the messages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RenderOptions {
    /// Ends the text with the header of an assistant's turn.
    pub add_generation_prompt: bool,
    /// The day that `strftime_now` tells.
    pub date: CivilDate,
    /// Further variables of the template, such as `enable_thinking` and `date_string`.
    pub kwargs: serde_json::Map<String, serde_json::Value>,
}

impl RenderOptions {
    /// What is said of a model: the day that its template tells, and `enable_thinking`; what is left out stays as it is.
    pub fn for_model(date: Option<&str>, thinking: Option<bool>) -> Result<Self, DateError> {
        let mut options = Self::default();
        if let Some(date) = date {
            options.date = date.parse()?;
        }
        options.kwargs.extend(thinking.map(|thinking| (String::from("enable_thinking"), thinking.into())));
        Ok(options)
    }
}

/// Why a conversation was not rendered.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// The template is not Jinja that we know.
    #[error("the chat template does not parse: {reason}")]
    Syntax {
        /// The engine's reason, with the line.
        reason: String,
    },
    /// The template refuses the conversation (`raise_exception`).
    #[error("the chat template refuses the conversation: {message}")]
    Refused {
        /// The template's words.
        message: String,
    },
    /// The template fails.
    #[error("the chat template fails: {reason}")]
    Render {
        /// The engine's reason, with the line.
        reason: String,
    },
    /// A message holds a character that we keep for ourselves.
    #[error(
        "message {index} holds the private-use character U+{character:X}, which is used to find turns; remove it"
    )]
    Reserved {
        /// Position of the message, from 0.
        index: usize,
        /// The character.
        character: u32,
    },
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special: SpecialTokens,
    has_generation: bool,
}

const PLAIN: &str = "chat template";
const MARKED: &str = "chat template with marks";

impl ChatTemplate {
    /// Compiles a template.
    pub fn new(source: &str, special: &SpecialTokens) -> Result<Self, TemplateError> {
        let syntax = |error: Error| TemplateError::Syntax { reason: reason(&error) };
        let mut environment = environment().map_err(syntax)?;
        let has_generation = generation::is_used(source);
        let mut add =
            |name: &'static str, source: String| environment.add_template_owned(name, source).map_err(syntax);
        add(PLAIN, generation::rewrite(source, "", ""))?;
        if has_generation {
            let (start, end) = (generation::START.to_string(), generation::END.to_string());
            add(MARKED, generation::rewrite(source, &start, &end))?;
        }
        Ok(Self { environment, special: special.clone(), has_generation })
    }

    /// Whether the template says itself what an assistant generates.
    pub fn has_generation(&self) -> bool {
        self.has_generation
    }

    /// Renders a conversation.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String, TemplateError> {
        self.render_named(PLAIN, messages, options)
    }

    /// Renders a conversation with a template that has `{% generation %}` tags, and gives the byte ranges inside them.
    pub fn render_marked(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<(String, Vec<Range<usize>>), TemplateError> {
        for (index, message) in messages.iter().enumerate() {
            if let Some(character) =
                message.content.chars().find(|character| generation::is_reserved(*character))
            {
                return Err(TemplateError::Reserved { index, character: character.into() });
            }
        }
        let name = if self.has_generation { MARKED } else { PLAIN };
        Ok(generation::unmark(&self.render_named(name, messages, options)?))
    }

    fn render_named(
        &self,
        name: &str,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<String, TemplateError> {
        let template = self.environment.get_template(name).map_err(|error| render_error(&error))?;
        template.render(self.context(messages, options)).map_err(|error| render_error(&error))
    }

    fn context(&self, messages: &[Message], options: &RenderOptions) -> Value {
        let date = options.date;
        let mut context = vec![
            ("messages", Value::from(Serde(messages))),
            ("add_generation_prompt", Value::from(options.add_generation_prompt)),
            // Transformers passes these two even when there are none.
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            (
                "strftime_now",
                Value::from_function(move |format: &str| {
                    date.strftime(format)
                        .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
                }),
            ),
        ];
        let special = &self.special;
        for (name, token) in [
            ("bos_token", &special.bos),
            ("eos_token", &special.eos),
            ("pad_token", &special.pad),
            ("unk_token", &special.unk),
        ] {
            if let Some(text) = token {
                context.push((name, Value::from(text.as_str())));
            }
        }
        let given = options.kwargs.iter().map(|(key, value)| (key.as_str(), Value::from(Serde(value))));
        Value::from_pairs(context.into_iter().chain(given))
    }
}

/// As `transformers.utils.chat_template_utils._compile_jinja_template`.
fn environment() -> Result<Environment<'static>, Error> {
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    let mut environment = Environment::new();
    environment.set_syntax(syntax);
    environment.set_fuel(Some(FUEL_MAX));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_filter("tojson", |value: &Value, indent: Option<Value>, options: Kwargs| {
        json::tojson(value, indent, &options)
    });
    Ok(environment)
}

/// Marks an error as the template's own words.
#[derive(Debug, Error)]
#[error("raised by the template")]
struct Raised(String);

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "the template refused").with_source(Raised(message)))
}

fn render_error(error: &Error) -> TemplateError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = source {
        if let Some(Raised(message)) = current.downcast_ref() {
            return TemplateError::Refused { message: message.clone() };
        }
        source = current.source();
    }
    TemplateError::Render { reason: reason(error) }
}

fn reason(error: &Error) -> String {
    match error.line() {
        Some(line) => format!("{error} (line {line})"),
        None => error.to_string(),
    }
}
