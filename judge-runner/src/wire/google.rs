//! Google Gemini, `generateContent`. Limits stand in the bodies of errors: there are no headers for them.

use std::time::Duration;

use assay_domain::job::{ApiJudge, Thinking};
use assay_domain::judge_models::Knob;
use assay_judging::prompt::{Message, Role};
use assay_judging::verdict::Finish;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{
    Answer, Level, Question, RawResponse, Seen, Trouble, Wire, parameters, quoted, unreadable, waits,
};

pub(super) struct Google;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    contents: Vec<Content<'a>>,
    generation_config: GenerationConfig<'a>,
    safety_settings: Vec<Value>,
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: [TextPart<'a>; 1],
}

#[derive(Serialize)]
struct TextPart<'a> {
    text: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    max_output_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    #[serde(default)]
    candidates: Vec<Candidate>,
    prompt_feedback: Option<PromptFeedback>,
    usage_metadata: Option<Usage>,
    #[serde(default)]
    model_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    content: Option<Parts>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
    #[serde(default)]
    thought: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback {
    block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Usage {
    prompt_token_count: u32,
    candidates_token_count: u32,
    thoughts_token_count: u32,
}

impl Wire for Google {
    fn url(&self, judge: &ApiJudge) -> String {
        format!("{}/models/{}:generateContent", judge.base_url.trim_end_matches('/'), judge.model)
    }

    /// A header and not `?key=`, which would stand in logs.
    fn key_header(&self, key: &str) -> (&'static str, String) {
        ("x-goog-api-key", key.to_owned())
    }

    fn body(&self, judge: &ApiJudge, question: Question<'_>) -> serde_json::Result<String> {
        let parameters = parameters::of(judge);
        let messages = &question.prompt.messages;
        let is_system = |message: &&Message| message.role == Role::System;
        let content = |role| move |message: &'_ Message| (role, message.content.clone());
        let user: Vec<_> =
            messages.iter().filter(|message| !is_system(message)).map(content(Some("user"))).collect();
        serde_json::to_string(&Request {
            system_instruction: messages
                .iter()
                .find(is_system)
                .map(|message| Content { role: None, parts: [TextPart { text: &message.content }] }),
            contents: user
                .iter()
                .map(|(role, text)| Content { role: *role, parts: [TextPart { text }] })
                .collect(),
            generation_config: GenerationConfig {
                temperature: parameters.temperature,
                max_output_tokens: judge.max_tokens,
                response_mime_type: question.schema.map(|_| "application/json"),
                response_json_schema: question.schema,
                thinking_config: parameters
                    .thinking
                    .and_then(|thinking| thinking_config(parameters.knob, thinking, judge.max_tokens)),
            },
            safety_settings: safety_settings(),
        })
    }

    fn answer(&self, body: &str) -> Result<Answer, Trouble> {
        let reply: Reply = serde_json::from_str(body).map_err(|error| unreadable(error, body))?;
        let usage = reply.usage_metadata.unwrap_or_default();
        let blocked = reply.prompt_feedback.and_then(|feedback| feedback.block_reason);
        let (text, finish, said) = match (reply.candidates.into_iter().next(), blocked) {
            (_, Some(reason)) => (None, Finish::Filtered, format!("prompt: {reason}")),
            (None, None) => return Err(unreadable("it has no candidates", body)),
            (Some(candidate), None) => {
                let reason = candidate.finish_reason.unwrap_or_default();
                let parts = candidate.content.map(|content| content.parts).unwrap_or_default();
                let texts = parts.into_iter().filter(|part| !part.thought).filter_map(|part| part.text);
                let text = texts.collect::<String>();
                ((!text.is_empty()).then_some(text), finish(&reason), reason)
            }
        };
        Ok(Answer {
            text,
            refusal: None,
            said: if finish == Finish::Stop { String::new() } else { said },
            finish,
            model: reply.model_version,
            prompt_tokens: usage.prompt_token_count,
            new_tokens: usage.candidates_token_count + usage.thoughts_token_count,
        })
    }

    fn trouble(&self, response: &RawResponse) -> Trouble {
        let error = error_of(&response.body);
        let message = error["message"].as_str().map_or(quoted(&response.body), quoted);
        let judge = || Trouble::Judge { why: format!("status {}: {message}", response.status) };
        if response.status == 400
            && (message.contains("API key") || detail(&error, "ErrorInfo")["reason"] == "API_KEY_INVALID")
        {
            return judge();
        }
        // A day's quota comes back at midnight, Pacific time: there is nothing to wait for.
        if quota_ids(&error).any(|id| id.contains("PerDay")) {
            return judge();
        }
        waits::by_status(response, message, retry_delay(&error).or(response.retry_after()))
    }

    fn seen(&self, response: &RawResponse, _: u64) -> Seen {
        let error = error_of(&response.body);
        let reset = retry_delay(&error);
        let mut seen = Seen::default();
        for violation in violations(&error) {
            let limit = violation["quotaValue"].as_str().and_then(|value| value.parse().ok());
            let level = Level { limit, remaining: limit.map(|_| 0), reset };
            match violation["quotaId"].as_str().unwrap_or_default() {
                id if !id.contains("PerMinute") => {}
                id if id.contains("Token") => seen.input_tokens = level,
                _ => seen.requests = level,
            }
        }
        seen
    }
}

fn finish(reason: &str) -> Finish {
    match reason {
        "MAX_TOKENS" => Finish::Length,
        // An answer that the model got wrong itself: read, and found to be malformed.
        "STOP" | "FINISH_REASON_UNSPECIFIED" | "MALFORMED_FUNCTION_CALL" | "" => Finish::Stop,
        // SAFETY, RECITATION, LANGUAGE, OTHER, BLOCKLIST, PROHIBITED_CONTENT, SPII, and what comes later.
        _ => Finish::Filtered,
    }
}

/// Gemini counts thinking into the answer's limit, so a budget is a share of it.
fn thinking_config(knob: Knob, thinking: Thinking, max_tokens: u32) -> Option<Value> {
    let quarters = match thinking {
        Thinking::None => 0,
        Thinking::Low => 1,
        Thinking::Medium => 2,
        Thinking::High => 3,
    };
    match knob {
        Knob::Budget => Some(json!({ "thinkingBudget": max_tokens / 4 * quarters })),
        Knob::Level => Some(json!({ "thinkingLevel": parameters::word(thinking).to_uppercase() })),
        Knob::None | Knob::Effort | Knob::ReasoningEffort => None,
    }
}

/// A judge reads what models wrote: it is to be judged, not kept from it.
fn safety_settings() -> Vec<Value> {
    ["HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT"]
        .map(|name| json!({ "category": format!("HARM_CATEGORY_{name}"), "threshold": "BLOCK_NONE" }))
        .into()
}

/// The error of a body, which may be a list of one.
fn error_of(body: &str) -> Value {
    let mut value: Value = serde_json::from_str(body).unwrap_or_default();
    let value = value.get_mut(0).map(Value::take).unwrap_or(value);
    value["error"].clone()
}

fn detail<'a>(error: &'a Value, kind: &str) -> &'a Value {
    let details = error["details"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_kind = |detail: &&Value| detail["@type"].as_str().is_some_and(|name| name.ends_with(kind));
    details.iter().find(of_kind).unwrap_or(&Value::Null)
}

/// `42s`, in the body.
fn retry_delay(error: &Value) -> Option<Duration> {
    detail(error, "RetryInfo")["retryDelay"].as_str().and_then(waits::go_duration)
}

fn violations(error: &Value) -> impl Iterator<Item = &Value> {
    detail(error, "QuotaFailure")["violations"].as_array().into_iter().flatten()
}

fn quota_ids(error: &Value) -> impl Iterator<Item = &str> {
    violations(error).filter_map(|violation| violation["quotaId"].as_str())
}
