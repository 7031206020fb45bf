//! Anthropic Messages.

use std::time::Duration;

use assay_domain::job::{ApiJudge, Thinking};
use assay_domain::judge_models::Knob;
use assay_judging::prompt::Role;
use assay_judging::verdict::Finish;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Answer, Question, RawResponse, Seen, Trouble, Wire, parameters, quoted, unreadable, waits};

pub(super) struct Anthropic;

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "OutputConfig::is_empty")]
    output_config: OutputConfig<'a>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
}

impl OutputConfig<'_> {
    fn is_empty(&self) -> bool {
        self.format.is_none() && self.effort.is_none()
    }
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    schema: &'a RawValue,
}

#[derive(Deserialize)]
struct Reply {
    model: String,
    content: Vec<Block>,
    stop_reason: Option<String>,
    stop_details: Option<StopDetails>,
    usage: Usage,
}

/// Thinking may stand before the text: blocks without one are passed over.
#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

#[derive(Deserialize)]
struct StopDetails {
    category: Option<String>,
    explanation: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    input_tokens: u32,
    output_tokens: u32,
    #[serde(default)]
    cache_creation_input_tokens: Option<u32>,
    #[serde(default)]
    cache_read_input_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct Failed {
    error: FailedError,
}

#[derive(Deserialize)]
struct FailedError {
    #[serde(rename = "type")]
    kind: String,
    message: String,
}

impl Wire for Anthropic {
    fn url(&self, judge: &ApiJudge) -> String {
        format!("{}/messages", judge.base_url.trim_end_matches('/'))
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("anthropic-version", "2023-06-01")]
    }

    fn key_header(&self, key: &str) -> (&'static str, String) {
        ("x-api-key", key.to_owned())
    }

    fn body(&self, judge: &ApiJudge, question: Question<'_>) -> serde_json::Result<String> {
        let parameters = parameters::of(judge);
        let effort = parameters.thinking.filter(|thinking| *thinking != Thinking::None);
        let messages = &question.prompt.messages;
        let said = |message: &'_ assay_judging::prompt::Message| message.role != Role::System;
        serde_json::to_string(&Request {
            model: &judge.model,
            max_tokens: judge.max_tokens,
            system: messages.iter().find(|message| !said(message)).map(|message| message.content.as_str()),
            messages: messages
                .iter()
                .filter(|message| said(message))
                .map(|message| Message { role: message.role.name(), content: &message.content })
                .collect(),
            temperature: parameters.temperature,
            output_config: OutputConfig {
                format: question.schema.map(|schema| Format { kind: "json_schema", schema }),
                effort: effort.filter(|_| parameters.knob == Knob::Effort).map(parameters::word),
            },
        })
    }

    fn answer(&self, body: &str) -> Result<Answer, Trouble> {
        let reply: Reply = serde_json::from_str(body).map_err(|error| unreadable(error, body))?;
        let texts: Vec<String> = reply
            .content
            .into_iter()
            .filter(|block| block.kind == "text")
            .filter_map(|block| block.text)
            .collect();
        let finish = match reply.stop_reason.as_deref() {
            Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
            Some("refusal") => Finish::Refused,
            Some(_) | None => Finish::Stop,
        };
        let details = reply.stop_details.filter(|_| finish == Finish::Refused);
        let said = details.into_iter().flat_map(|details| [details.category, details.explanation]).flatten();
        let usage = reply.usage;
        let cached =
            usage.cache_creation_input_tokens.unwrap_or(0) + usage.cache_read_input_tokens.unwrap_or(0);
        Ok(Answer {
            text: (!texts.is_empty()).then(|| texts.concat()),
            refusal: None,
            finish,
            said: said.collect::<Vec<_>>().join(": "),
            model: reply.model,
            prompt_tokens: usage.input_tokens + cached,
            new_tokens: usage.output_tokens,
        })
    }

    fn trouble(&self, response: &RawResponse) -> Trouble {
        // A 413 comes from the proxy in front and may be no JSON.
        let failed = serde_json::from_str::<Failed>(&response.body).ok().map(|failed| failed.error);
        let kind = failed.as_ref().map_or("", |error| error.kind.as_str());
        let message = failed.as_ref().map_or(quoted(&response.body), |error| quoted(&error.message));
        if kind == "billing_error" || message.contains("credit balance is too low") {
            return Trouble::Judge { why: format!("status {}: {message}", response.status) };
        }
        waits::by_status(response, message, response.retry_after())
    }

    fn seen(&self, response: &RawResponse, unix_s: u64) -> Seen {
        let level = |what: &str| {
            let name = |part: &str| format!("anthropic-ratelimit-{what}-{part}");
            let (limit, remaining, reset) = (name("limit"), name("remaining"), name("reset"));
            response.level([&limit, &remaining, &reset], |moment| {
                let until = waits::rfc3339_unix_s(moment)?;
                Some(Duration::from_secs(until.saturating_sub(unix_s)))
            })
        };
        Seen {
            requests: level("requests"),
            input_tokens: level("input-tokens"),
            output_tokens: level("output-tokens"),
        }
    }
}
