//! OpenAI Responses.

use assay_domain::job::ApiJudge;
use assay_domain::judge_models::Knob;
use assay_judging::prompt::{Message, Role};
use assay_judging::verdict::Finish;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::openai_chat::{failed_inside, openai_seen, openai_trouble};
use super::{Answer, Question, RawResponse, Seen, Trouble, Wire, parameters, unreadable};

pub(super) struct Responses;

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
    input: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    max_output_tokens: u32,
    store: bool,
}

#[derive(Serialize)]
struct Text<'a> {
    format: Format<'a>,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'static str,
    strict: bool,
    schema: &'a RawValue,
}

#[derive(Serialize)]
struct Reasoning {
    effort: &'static str,
}

#[derive(Deserialize)]
struct Reply {
    model: String,
    status: String,
    incomplete_details: Option<Incomplete>,
    error: Option<Failed>,
    #[serde(default)]
    output: Vec<Item>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Failed {
    code: Option<String>,
    message: Option<String>,
}

/// Reasoning stands before the message and has no content of ours.
#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    content: Option<Vec<Part>>,
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    input_tokens: u32,
    output_tokens: u32,
}

impl Wire for Responses {
    fn url(&self, judge: &ApiJudge) -> String {
        format!("{}/responses", judge.base_url.trim_end_matches('/'))
    }

    fn key_header(&self, key: &str) -> (&'static str, String) {
        ("authorization", format!("Bearer {key}"))
    }

    fn body(&self, judge: &ApiJudge, question: Question<'_>) -> serde_json::Result<String> {
        let parameters = parameters::of(judge);
        let effort = parameters.thinking.filter(|_| parameters.knob == Knob::ReasoningEffort);
        let messages = &question.prompt.messages;
        let is_system = |message: &&Message| message.role == Role::System;
        let input: Vec<&str> = messages
            .iter()
            .filter(|message| !is_system(message))
            .map(|message| message.content.as_str())
            .collect();
        serde_json::to_string(&Request {
            model: &judge.model,
            instructions: messages.iter().find(is_system).map(|message| message.content.as_str()),
            input: input.join("\n\n"),
            text: question.schema.map(|schema| Text {
                format: Format { kind: "json_schema", name: "verdict", strict: true, schema },
            }),
            reasoning: effort.map(|thinking| Reasoning { effort: parameters::word(thinking) }),
            temperature: parameters.temperature,
            max_output_tokens: judge.max_tokens,
            store: false,
        })
    }

    fn answer(&self, body: &str) -> Result<Answer, Trouble> {
        let reply: Reply = serde_json::from_str(body).map_err(|error| unreadable(error, body))?;
        if reply.status == "failed" {
            let failed = reply.error.unwrap_or(Failed { code: None, message: None });
            let code = failed.code.unwrap_or_default();
            return Err(failed_inside(&code, &failed.message.unwrap_or_default()));
        }
        let reason = reply.incomplete_details.and_then(|details| details.reason).unwrap_or_default();
        let finish = match (reply.status.as_str(), reason.as_str()) {
            ("incomplete", "content_filter") => Finish::Filtered,
            ("incomplete", _) => Finish::Length,
            (_, _) => Finish::Stop,
        };
        let messages = reply.output.into_iter().filter(|item| item.kind == "message");
        let parts: Vec<Part> = messages.filter_map(|item| item.content).flatten().collect();
        let joined = |take: fn(&Part) -> Option<&String>| {
            let texts: Vec<&str> = parts.iter().filter_map(take).map(String::as_str).collect();
            (!texts.is_empty()).then(|| texts.concat())
        };
        let (prompt_tokens, new_tokens) =
            reply.usage.map_or((0, 0), |usage| (usage.input_tokens, usage.output_tokens));
        Ok(Answer {
            text: joined(|part| part.text.as_ref()),
            refusal: joined(|part| part.refusal.as_ref()),
            finish,
            said: reason,
            model: reply.model,
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
