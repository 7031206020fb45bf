//! The bodies and headers of each lab.

use serde_json::{Value, json};

use super::{Api, Says};

/// Status, headers, body.
pub(crate) type Raw = (u16, Vec<(&'static str, String)>, String);

const SCORES: &str = r#"{"creativity":4,"coherence":5,"depth":3,"engagement":4,"quality":4}"#;

/// A verdict as `assay-v1` asks for it.
pub(crate) fn verdict(label: &str) -> String {
    format!(
        r#"{{"reasoning":"One is fresher.","response_1":{SCORES},"response_2":{SCORES},"winner":"{label}","confidence":4}}"#
    )
}

/// The text of the user's turn.
pub(crate) fn prompt_of(api: Api, body: &Value) -> String {
    let text = match api {
        Api::Anthropic => &body["messages"][0]["content"],
        Api::Chat | Api::Compatible => {
            let last = body["messages"].as_array().unwrap().len() - 1;
            &body["messages"][last]["content"]
        }
        Api::Responses => &body["input"],
        Api::Gemini => &body["contents"][0]["parts"][0]["text"],
    };
    text.as_str().unwrap().to_owned()
}

/// A whole response.
pub(crate) fn response(api: Api, says: Says, request: &Value) -> Raw {
    let model = request["model"].as_str().unwrap_or("gemini-2.5-flash-lite");
    let (text, stop) = match says {
        Says::Verdict(label) => (Some(verdict(label)), Stop::Whole),
        Says::Prose(prose) => (Some(prose.to_owned()), Stop::Whole),
        Says::Truncated { empty: true } => (None, Stop::Length),
        Says::Truncated { empty: false } => (Some(verdict("1")[..60].to_owned()), Stop::Length),
        Says::Refusal => (None, Stop::Refusal),
        Says::Blocked { prompt } => (None, Stop::Blocked { prompt }),
        Says::RateLimited { .. }
        | Says::Overloaded
        | Says::Broken
        | Says::Cut
        | Says::NotJson
        | Says::QuotaGone
        | Says::Retired
        | Says::TooLong
        | Says::QuotesKey
        | Says::Nothing
        | Says::TemperatureRefused => return error(api, says, model),
    };
    let body = match api {
        Api::Anthropic => anthropic(model, text, stop),
        Api::Chat | Api::Compatible => chat(model, text, stop),
        Api::Responses => responses(model, text, stop),
        Api::Gemini => gemini(text, stop),
    };
    (200, headers(api), body.to_string())
}

/// Why an answer ended.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    Whole,
    Length,
    Refusal,
    Blocked { prompt: bool },
}

/// Limits as recorded from the labs' SDKs; none at Google and on servers of one's own.
fn headers(api: Api) -> Vec<(&'static str, String)> {
    let told: &[(&str, &str)] = match api {
        Api::Anthropic => &[
            ("request-id", "req_011CYUXXXXXXXXXXXXXXXXXX"),
            ("anthropic-ratelimit-requests-limit", "4000"),
            ("anthropic-ratelimit-requests-remaining", "3999"),
            ("anthropic-ratelimit-requests-reset", "2026-02-25T20:02:32Z"),
            ("anthropic-ratelimit-input-tokens-limit", "2000000"),
            ("anthropic-ratelimit-input-tokens-remaining", "2000000"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-02-25T20:02:32Z"),
            ("anthropic-ratelimit-output-tokens-limit", "400000"),
            ("anthropic-ratelimit-output-tokens-remaining", "400000"),
            ("anthropic-ratelimit-output-tokens-reset", "2026-02-25T20:02:32Z"),
        ],
        Api::Chat | Api::Responses => &[
            ("x-request-id", "req_4d5e"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-limit-tokens", "30000000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-remaining-tokens", "29998680"),
            ("x-ratelimit-reset-requests", "6ms"),
            ("x-ratelimit-reset-tokens", "2ms"),
        ],
        Api::Gemini | Api::Compatible => &[],
    };
    told.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn anthropic(model: &str, text: Option<String>, stop: Stop) -> Value {
    let (stop_reason, stop_details) = match stop {
        Stop::Whole => ("end_turn", Value::Null),
        Stop::Length => ("max_tokens", Value::Null),
        Stop::Refusal | Stop::Blocked { .. } => {
            let details = json!({ "type": "refusal", "category": "frontier_llm",
                "explanation": "This request could assist development of competing models." });
            ("refusal", details)
        }
    };
    let mut content = vec![json!({ "type": "thinking", "thinking": "Let me compare.", "signature": "EqQB" })];
    content.extend(text.map(|text| json!({ "type": "text", "text": text })));
    json!({
        "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF", "type": "message", "role": "assistant", "model": model,
        "content": content, "stop_reason": stop_reason, "stop_sequence": null, "stop_details": stop_details,
        "usage": { "input_tokens": 1320, "output_tokens": 210, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0, "service_tier": "standard" },
    })
}

fn chat(model: &str, text: Option<String>, stop: Stop) -> Value {
    let finish_reason = match stop {
        Stop::Whole | Stop::Refusal => "stop",
        Stop::Length => "length",
        Stop::Blocked { .. } => "content_filter",
    };
    let refusal = (stop == Stop::Refusal).then_some("I'm sorry, I can't assist with that.");
    json!({
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion", "created": 1_741_569_952, "model": model,
        "choices": [{
            "index": 0, "finish_reason": finish_reason, "logprobs": null,
            "message": { "role": "assistant", "content": text, "refusal": refusal, "annotations": [] },
        }],
        "usage": { "prompt_tokens": 1320, "completion_tokens": 210, "total_tokens": 1530,
            "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 0 } },
        "service_tier": "default", "system_fingerprint": null,
    })
}

fn responses(model: &str, text: Option<String>, stop: Stop) -> Value {
    let (status, reason) = match stop {
        Stop::Whole | Stop::Refusal => ("completed", None),
        Stop::Length => ("incomplete", Some("max_output_tokens")),
        Stop::Blocked { .. } => ("incomplete", Some("content_filter")),
    };
    let mut output = vec![json!({ "id": "rs_1", "type": "reasoning", "summary": [] })];
    let part = match (stop, text) {
        (Stop::Refusal, _) => Some(json!({ "type": "refusal", "refusal": "I can't help with that." })),
        (_, Some(text)) => {
            Some(json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }))
        }
        (_, None) => None,
    };
    output.extend(part.map(|part| {
        json!({ "id": "msg_1", "type": "message", "status": status, "role": "assistant", "content": [part] })
    }));
    json!({
        "id": "resp_67ccd2bed1ec8190b14f964abc054267", "object": "response", "created_at": 1_741_476_542, "status": status,
        "error": null, "incomplete_details": reason.map(|reason| json!({ "reason": reason })), "model": model,
        "output": output,
        "usage": { "input_tokens": 1320, "output_tokens": 210, "total_tokens": 1530,
            "output_tokens_details": { "reasoning_tokens": 0 } },
    })
}

fn gemini(text: Option<String>, stop: Stop) -> Value {
    let usage = json!({ "promptTokenCount": 1320, "candidatesTokenCount": 200, "thoughtsTokenCount": 10, "totalTokenCount": 1530 });
    let ratings = json!([{ "category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE" }]);
    let reason = match stop {
        Stop::Whole => "STOP",
        Stop::Length => "MAX_TOKENS",
        Stop::Refusal => "PROHIBITED_CONTENT",
        Stop::Blocked { prompt: false } => "RECITATION",
        Stop::Blocked { prompt: true } => {
            return json!({
                "promptFeedback": { "blockReason": "PROHIBITED_CONTENT", "safetyRatings": ratings },
                "usageMetadata": { "promptTokenCount": 1320, "totalTokenCount": 1320 },
                "modelVersion": "gemini-2.5-flash-lite", "responseId": "x1",
            });
        }
    };
    let mut candidate = json!({ "finishReason": reason, "index": 0, "safetyRatings": ratings });
    if let Some(text) = text {
        let parts = json!([{ "text": "thinking aloud", "thought": true }, { "text": text }]);
        candidate["content"] = json!({ "role": "model", "parts": parts });
    } else if stop == Stop::Length {
        // Thinking took it all: a candidate without parts.
        candidate["content"] = json!({ "role": "model" });
    }
    json!({ "candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash-lite", "responseId": "x2" })
}

fn error(api: Api, says: Says, model: &str) -> Raw {
    if says == Says::NotJson {
        let page = "<html><head><title>502 Bad Gateway</title></head></html>";
        return (502, vec![("content-type", String::from("text/html"))], String::from(page));
    }
    match api {
        Api::Anthropic => anthropic_error(says, model),
        Api::Chat | Api::Responses | Api::Compatible => openai_error(says, model),
        Api::Gemini => gemini_error(says),
    }
}

fn anthropic_error(says: Says, model: &str) -> Raw {
    let mut headers = vec![("request-id", String::from("req_018EeWyXxfu5pfWkrYcMdjWG"))];
    let (status, kind, message) = match says {
        Says::RateLimited { after_s } => {
            headers.push(("retry-after", after_s.to_string()));
            headers.push(("x-should-retry", String::from("true")));
            (
                429,
                "rate_limit_error",
                "This request would exceed your account's rate limit. Please try again later.",
            )
        }
        Says::Overloaded => {
            headers.push(("x-should-retry", String::from("true")));
            (529, "overloaded_error", "Overloaded")
        }
        Says::QuotaGone => {
            (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.")
        }
        Says::Retired => (404, "not_found_error", model),
        Says::TooLong => (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        Says::TemperatureRefused => {
            (400, "invalid_request_error", "`temperature` is deprecated for this model.")
        }
        Says::Broken
        | Says::Verdict(_)
        | Says::Prose(_)
        | Says::Refusal
        | Says::Blocked { .. }
        | Says::Truncated { .. }
        | Says::Cut
        | Says::NotJson
        | Says::Nothing
        | Says::QuotesKey => (500, "api_error", "Internal server error"),
    };
    let message = if says == Says::Retired { format!("model: {model}") } else { message.to_owned() };
    let body = json!({ "type": "error", "error": { "type": kind, "message": message },
        "request_id": "req_018EeWyXxfu5pfWkrYcMdjWG" });
    (status, headers, body.to_string())
}

fn openai_error(says: Says, model: &str) -> Raw {
    let mut headers = vec![("x-request-id", String::from("req_4d5e"))];
    let (status, kind, code, message) = match says {
        Says::RateLimited { after_s } => {
            headers.push(("retry-after-ms", (after_s * 1000).to_string()));
            headers.push(("retry-after", after_s.to_string()));
            let message = format!(
                "Rate limit reached for {model} on requests per min (RPM). Please try again in {after_s}s."
            );
            (429, "requests", json!("rate_limit_exceeded"), message)
        }
        Says::Overloaded => {
            let message =
                String::from("The server is currently overloaded with other requests. Sorry about that!");
            (503, "server_error", Value::Null, message)
        }
        Says::QuotaGone => {
            let message =
                String::from("You exceeded your current quota, please check your plan and billing details.");
            (429, "insufficient_quota", json!("insufficient_quota"), message)
        }
        Says::Retired => {
            let message = format!("The model `{model}` does not exist or you do not have access to it.");
            (404, "invalid_request_error", json!("model_not_found"), message)
        }
        Says::TooLong => {
            let message = String::from("This model's maximum context length is 128000 tokens.");
            (400, "invalid_request_error", json!("context_length_exceeded"), message)
        }
        Says::TemperatureRefused => {
            let message =
                String::from("Unsupported value: 'temperature' does not support 0.3 with this model.");
            (400, "invalid_request_error", json!("unsupported_value"), message)
        }
        Says::Broken
        | Says::Verdict(_)
        | Says::Prose(_)
        | Says::Refusal
        | Says::Blocked { .. }
        | Says::Truncated { .. }
        | Says::Cut
        | Says::NotJson
        | Says::Nothing
        | Says::QuotesKey => {
            let message =
                String::from("The server had an error while processing your request. Sorry about that!");
            (500, "server_error", Value::Null, message)
        }
    };
    let body = json!({ "error": { "message": message, "type": kind, "param": null, "code": code } });
    (status, headers, body.to_string())
}

fn gemini_error(says: Says) -> Raw {
    let quota = |id: &str, value: &str| {
        json!({ "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{
            "quotaMetric": "generativelanguage.googleapis.com/generate_requests_per_model", "quotaId": id,
            "quotaDimensions": { "model": "gemini-2.5-flash-lite", "location": "global" }, "quotaValue": value }] })
    };
    let help = json!({ "@type": "type.googleapis.com/google.rpc.Help", "links": [
        { "description": "Learn more about Gemini API quotas", "url": "https://ai.google.dev/gemini-api/docs/rate-limits" }] });
    let retry = |seconds: u32| json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s") });
    let exhausted = "You exceeded your current quota, please check your plan and billing details.";
    let (code, status, message, details) = match says {
        Says::RateLimited { after_s } => {
            let quota = quota("GenerateRequestsPerMinutePerProjectPerModel", "4000");
            (429, "RESOURCE_EXHAUSTED", exhausted, vec![quota, help, retry(after_s)])
        }
        Says::QuotaGone => {
            let quota = quota("GenerateRequestsPerDayPerProjectPerModel", "1000");
            (429, "RESOURCE_EXHAUSTED", exhausted, vec![quota, help, retry(42)])
        }
        Says::Overloaded => (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", vec![]),
        Says::Retired => {
            (404, "NOT_FOUND", "models/gemini-1.0-pro is not found for API version v1beta", vec![])
        }
        Says::TooLong => (
            400,
            "INVALID_ARGUMENT",
            "The input token count exceeds the maximum number of tokens allowed 1048576.",
            vec![],
        ),
        Says::TemperatureRefused => {
            (400, "INVALID_ARGUMENT", "Invalid value at 'generation_config.temperature'", vec![])
        }
        Says::Broken
        | Says::Verdict(_)
        | Says::Prose(_)
        | Says::Refusal
        | Says::Blocked { .. }
        | Says::Truncated { .. }
        | Says::Cut
        | Says::NotJson
        | Says::Nothing
        | Says::QuotesKey => (500, "INTERNAL", "An internal error has occurred.", vec![]),
    };
    let mut error = json!({ "code": code, "message": message, "status": status });
    if !details.is_empty() {
        error["details"] = json!(details);
    }
    let body = json!({ "error": error });
    // Seen both ways: plain, and as a list of one.
    let body = if says == Says::Overloaded { json!([body]) } else { body };
    (code, vec![], body.to_string())
}

/// What a wrong key is told; some quote it.
pub(crate) fn bad_key(api: Api, told: &str) -> Raw {
    match api {
        Api::Anthropic => {
            let body = json!({ "type": "error", "error": { "type": "authentication_error", "message": "invalid x-api-key" },
                "request_id": "req_1" });
            (401, vec![], body.to_string())
        }
        Api::Chat | Api::Responses | Api::Compatible => {
            let message =
                format!("Incorrect API key provided: {told}. You can find your API key in your account.");
            let body = json!({ "error": { "message": message, "type": "invalid_request_error", "param": null, "code": "invalid_api_key" } });
            (401, vec![], body.to_string())
        }
        Api::Gemini => {
            let details = json!([{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com" }]);
            let body = json!({ "error": { "code": 400, "message": "API key not valid. Please pass a valid API key.",
                "status": "INVALID_ARGUMENT", "details": details } });
            (400, vec![], body.to_string())
        }
    }
}
