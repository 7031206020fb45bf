//! Chat Completions: OpenAI's own, and servers that speak it (vLLM, Ollama).

use assay_domain::job::{ApiJudge, Thinking};
use assay_domain::judge_models::Knob;
use assay_judging::verdict::Finish;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{
    Answer, Cause, Level, Question, RawResponse, Seen, Trouble, Wire, parameters, quoted, unreadable, waits,
};

pub(super) struct Chat {
    /// Whether it is OpenAI's own server.
    pub(super) labs_own: bool,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: Vec<Said<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    /// What servers other than OpenAI's know.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template_kwargs: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Serialize)]
struct Said<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    json_schema: NamedSchema<'a>,
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'static str,
    strict: bool,
    schema: &'a RawValue,
}

#[derive(Deserialize)]
struct Completion {
    model: String,
    choices: Vec<Choice>,
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    prompt_tokens: u32,
    #[serde(default)]
    completion_tokens: u32,
}

impl Wire for Chat {
    fn url(&self, judge: &ApiJudge) -> String {
        format!("{}/chat/completions", judge.base_url.trim_end_matches('/'))
    }

    fn key_header(&self, key: &str) -> (&'static str, String) {
        ("authorization", format!("Bearer {key}"))
    }

    fn body(&self, judge: &ApiJudge, question: Question<'_>) -> serde_json::Result<String> {
        let parameters = parameters::of(judge);
        let silent = parameters.thinking == Some(Thinking::None) && !self.labs_own;
        let effort = parameters.thinking.filter(|_| parameters.knob == Knob::ReasoningEffort && !silent);
        let messages = &question.prompt.messages;
        serde_json::to_string(&Request {
            model: &judge.model,
            messages: messages
                .iter()
                .map(|message| Said { role: message.role.name(), content: &message.content })
                .collect(),
            max_completion_tokens: self.labs_own.then_some(judge.max_tokens),
            max_tokens: (!self.labs_own).then_some(judge.max_tokens),
            temperature: parameters.temperature,
            reasoning_effort: effort.map(parameters::word),
            chat_template_kwargs: silent.then(|| json!({ "enable_thinking": false })),
            store: self.labs_own.then_some(false),
            response_format: question.schema.map(|schema| ResponseFormat {
                kind: "json_schema",
                json_schema: NamedSchema { name: "verdict", strict: true, schema },
            }),
        })
    }

    fn answer(&self, body: &str) -> Result<Answer, Trouble> {
        let completion: Completion = serde_json::from_str(body).map_err(|error| unreadable(error, body))?;
        let choice = completion.choices.into_iter().next();
        let choice = choice.ok_or_else(|| unreadable("it has no choices", body))?;
        let finish = match choice.finish_reason.as_deref() {
            Some("length") => Finish::Length,
            Some("content_filter") => Finish::Filtered,
            Some(_) | None => Finish::Stop,
        };
        let (prompt_tokens, new_tokens) =
            completion.usage.map_or((0, 0), |usage| (usage.prompt_tokens, usage.completion_tokens));
        Ok(Answer {
            text: choice.message.content,
            refusal: choice.message.refusal,
            finish,
            said: String::new(),
            model: completion.model,
            prompt_tokens,
            new_tokens,
        })
    }

    fn trouble(&self, response: &RawResponse) -> Trouble {
        openai_trouble(response)
    }

    fn seen(&self, response: &RawResponse, _: u64) -> Seen {
        openai_seen(response)
    }
}

/// What OpenAI's errors mean, Responses included.
pub(super) fn openai_trouble(response: &RawResponse) -> Trouble {
    let body = serde_json::from_str::<Value>(&response.body).unwrap_or_default();
    let error = &body["error"];
    let says = |word: &str| error["code"] == word || error["type"] == word;
    let message = error["message"].as_str().map_or(quoted(&response.body), quoted);
    if says("insufficient_quota") || says("billing_hard_limit_reached") {
        return Trouble::Judge { why: format!("status {}: {message}", response.status) };
    }
    let reset = response.header("x-ratelimit-reset-requests").and_then(waits::go_duration);
    let reset = reset.filter(|_| response.status == 429);
    waits::by_status(response, message, response.retry_after().or(reset))
}

/// OpenAI's limits: one for requests, one for all tokens.
pub(super) fn openai_seen(response: &RawResponse) -> Seen {
    let level = |what: &str| -> Level {
        let name = |part: &str| format!("x-ratelimit-{part}-{what}");
        let (limit, remaining, reset) = (name("limit"), name("remaining"), name("reset"));
        response.level([&limit, &remaining, &reset], waits::go_duration)
    };
    Seen { requests: level("requests"), input_tokens: level("tokens"), output_tokens: Level::default() }
}

/// An error inside an answer of status 200.
pub(super) fn failed_inside(code: &str, message: &str) -> Trouble {
    let why = format!("the answer failed ({code}): {}", quoted(message));
    match code {
        "insufficient_quota" => Trouble::Judge { why },
        "rate_limit_exceeded" => Trouble::Again { why, after: None, cause: Cause::RateLimited },
        "server_error" | "vector_store_timeout" => Trouble::Again { why, after: None, cause: Cause::Failed },
        _ => Trouble::Question { why },
    }
}
