//! A thin client of OpenAI-compatible chat completions with a JSON schema, and the provider's rules on trying again.

use std::time::Duration;

use assay_domain::job::ApiJudge;
use assay_judging::prompt::{JudgePrompt, Message as JudgeMessage};
use assay_judging::verdict::Finish;
use reqwest::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// Times a call is tried before the judge's job fails for now.
const TRIES_MAX: u32 = 6;
/// One call may take this long.
const CALL_LIMIT: Duration = Duration::from_secs(600);
/// The longest wait that a server may ask for; it says more when a quota is gone for the day.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);
/// The longest wait of our own.
const BACK_OFF_MAX: Duration = Duration::from_secs(8);
/// Bytes of an error body that are quoted.
const ERROR_BYTES_MAX: usize = 300;

/// One judge behind an OpenAI-compatible API.
pub(crate) struct OpenAi<'a> {
    http: reqwest::Client,
    judge: &'a ApiJudge,
    key: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: Option<String>,
    pub(crate) refusal: Option<String>,
    pub(crate) finish: Finish,
    pub(crate) model: String,
    pub(crate) prompt_tokens: u32,
    pub(crate) new_tokens: u32,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Asking again cannot help: the key, the model, the quota or the request is wrong.
    #[error("{url} answered {status}: {message}")]
    Refused { url: String, status: StatusCode, message: String },
    /// Still failing after several tries.
    #[error("{url} failed {TRIES_MAX} times: {last}")]
    Exhausted { url: String, last: String },
}

/// One try.
enum Try {
    Answer(Box<Answer>),
    Again { why: String, after: Option<Duration> },
    Refused { status: StatusCode, message: String },
}

/// The request; a struct, not a map, since the schema's keys must keep their order.
#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: Vec<RequestMessage<'a>>,
    max_completion_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    response_format: ResponseFormat<'a>,
}

#[derive(Serialize)]
struct RequestMessage<'a> {
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
    completion_tokens: u32,
}

impl<'a> OpenAi<'a> {
    /// A client with its own connections.
    pub(crate) fn new(judge: &'a ApiJudge, key: String) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder().timeout(CALL_LIMIT).build()?;
        Ok(Self { http, judge, key })
    }

    /// Asks once, trying again where the provider says that it may help.
    pub(crate) async fn ask(&self, prompt: &JudgePrompt, schema: &RawValue) -> Result<Answer, AskError> {
        let url = format!("{}/chat/completions", self.judge.base_url.trim_end_matches('/'));
        let body = self.body(prompt, schema);
        let mut last = String::new();
        for tried in 0..TRIES_MAX {
            match self.call(&url, &body).await {
                Try::Answer(answer) => return Ok(*answer),
                Try::Refused { status, message } => return Err(AskError::Refused { url, status, message }),
                Try::Again { why, after } => {
                    tracing::warn!(judge = self.judge.model, why, "the judge's API is asked again");
                    last = why;
                    if tried + 1 < TRIES_MAX {
                        tokio::time::sleep(after.unwrap_or_else(|| back_off(tried))).await;
                    }
                }
            }
        }
        Err(AskError::Exhausted { url, last })
    }

    fn body<'b>(&'b self, prompt: &'b JudgePrompt, schema: &'b RawValue) -> Request<'b> {
        let message = |message: &'b JudgeMessage| RequestMessage {
            role: message.role.name(),
            content: &message.content,
        };
        Request {
            model: &self.judge.model,
            messages: prompt.messages.iter().map(message).collect(),
            max_completion_tokens: self.judge.max_tokens,
            temperature: self.judge.temperature,
            response_format: ResponseFormat {
                kind: "json_schema",
                json_schema: NamedSchema { name: "verdict", strict: true, schema },
            },
        }
    }

    async fn call(&self, url: &str, body: &Request<'_>) -> Try {
        let again = |error: reqwest::Error| Try::Again { why: error.without_url().to_string(), after: None };
        let response = match self.http.post(url).bearer_auth(&self.key).json(body).send().await {
            Ok(response) => response,
            Err(error) => return again(error),
        };
        if !response.status().is_success() {
            return refused(response).await;
        }
        match response.json::<Completion>().await {
            Ok(completion) => answer(completion),
            Err(error) => again(error),
        }
    }
}

fn answer(completion: Completion) -> Try {
    let Some(choice) = completion.choices.into_iter().next() else {
        return Try::Again { why: String::from("an answer without choices"), after: None };
    };
    let finish = match choice.finish_reason.as_deref() {
        Some("length") => Finish::Length,
        Some("content_filter") => Finish::Filtered,
        Some(_) | None => Finish::Stop,
    };
    let (prompt_tokens, new_tokens) =
        completion.usage.map_or((0, 0), |usage| (usage.prompt_tokens, usage.completion_tokens));
    Try::Answer(Box::new(Answer {
        text: choice.message.content,
        refusal: choice.message.refusal,
        finish,
        model: completion.model,
        prompt_tokens,
        new_tokens,
    }))
}

async fn refused(response: Response) -> Try {
    let status = response.status();
    let after = retry_after(&response);
    let text = response.text().await.unwrap_or_default();
    let error =
        serde_json::from_str::<Value>(&text).ok().map(|body| body["error"].clone()).unwrap_or_default();
    let quota_gone = error["code"] == "insufficient_quota" || error["type"] == "insufficient_quota";
    let message = error["message"].as_str().map_or_else(|| clip(&text), clip);
    let may_help = matches!(status.as_u16(), 408 | 409 | 429 | 500..=599) && !quota_gone;
    if may_help && after.is_none_or(|wait| wait <= RETRY_AFTER_MAX) {
        return Try::Again { why: format!("{status}: {message}"), after };
    }
    Try::Refused { status, message }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = header("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| header("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn back_off(tried: u32) -> Duration {
    // 0.5 s doubled each time; the server's own limits spread clients, so no jitter is needed for one runner.
    Duration::from_millis(500 << tried.min(10)).min(BACK_OFF_MAX)
}

fn clip(text: &str) -> String {
    let end =
        (0..=ERROR_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests;
