//! Requests are as the labs document them, and the oddities of their answers are read as what they are.

use std::time::Duration;

use assay_domain::job::Thinking;
use assay_judging::prompt::{Message, Role};
use serde_json::{Value, json};

use super::*;

fn judge(provider: Provider, model: &str) -> ApiJudge {
    ApiJudge {
        provider,
        model: model.to_owned(),
        base_url: String::from("https://x/v1/"),
        key_env: None,
        temperature: None,
        thinking: None,
        max_tokens: 1000,
        batch: false,
    }
}

/// The body for a judge, and the same as a value.
fn body(judge: &ApiJudge) -> (String, Value) {
    let message = |role, content: &str| Message { role, content: content.to_owned() };
    let prompt = JudgePrompt {
        messages: vec![message(Role::System, "Be fair."), message(Role::User, "Which?")],
        prefill: None,
    };
    // The order of the keys is the order in which the judge writes them.
    let schema = RawValue::from_string(String::from(r#"{"z":1,"a":2}"#)).unwrap();
    let question = Question { prompt: &prompt, schema: Some(&schema) };
    let text = of(judge.provider).unwrap().body(judge, question).unwrap();
    assert!(text.contains(r#"{"z":1,"a":2}"#), "the schema's keys are in another order: {text}");
    let value = serde_json::from_str(&text).unwrap();
    (text, value)
}

#[test]
fn requests_are_as_documented() {
    let (_, sent) = body(&judge(Provider::Anthropic, "claude-opus-4-8"));
    let format = json!({ "type": "json_schema", "schema": { "z": 1, "a": 2 } });
    assert_eq!(
        sent,
        json!({ "model": "claude-opus-4-8", "max_tokens": 1000, "system": "Be fair.",
            "messages": [{ "role": "user", "content": "Which?" }], "output_config": { "format": format } })
    );
    let (_, sent) = body(&judge(Provider::Openai, "gpt-4o-2024-08-06"));
    let schema = json!({ "name": "verdict", "strict": true, "schema": { "z": 1, "a": 2 } });
    let messages =
        json!([{ "role": "system", "content": "Be fair." }, { "role": "user", "content": "Which?" }]);
    assert_eq!(
        sent,
        json!({ "model": "gpt-4o-2024-08-06", "messages": messages, "max_completion_tokens": 1000, "store": false,
            "response_format": { "type": "json_schema", "json_schema": schema } })
    );
    let (_, sent) = body(&judge(Provider::OpenaiResponses, "gpt-5.4"));
    let format =
        json!({ "type": "json_schema", "name": "verdict", "strict": true, "schema": { "z": 1, "a": 2 } });
    assert_eq!(
        sent,
        json!({ "model": "gpt-5.4", "instructions": "Be fair.", "input": "Which?", "text": { "format": format },
            "max_output_tokens": 1000, "store": false })
    );
    let (_, sent) = body(&judge(Provider::Google, "gemini-2.5-flash-lite"));
    assert_eq!(sent["systemInstruction"], json!({ "parts": [{ "text": "Be fair." }] }));
    assert_eq!(sent["contents"], json!([{ "role": "user", "parts": [{ "text": "Which?" }] }]));
    assert_eq!(
        sent["generationConfig"],
        json!({ "maxOutputTokens": 1000, "responseMimeType": "application/json", "responseJsonSchema": { "z": 1, "a": 2 } })
    );
    let (_, sent) = body(&judge(Provider::OpenaiCompatible, "llama"));
    assert_eq!((&sent["max_tokens"], &sent["max_completion_tokens"]), (&json!(1000), &Value::Null));
    let url = |provider, model| of(provider).unwrap().url(&judge(provider, model));
    assert_eq!(url(Provider::Anthropic, "m"), "https://x/v1/messages");
    assert_eq!(url(Provider::Openai, "m"), "https://x/v1/chat/completions");
    assert_eq!(url(Provider::OpenaiResponses, "m"), "https://x/v1/responses");
    assert_eq!(url(Provider::Google, "m"), "https://x/v1/models/m:generateContent");
}

#[test]
fn thinking_and_temperature_go_where_the_model_wants_them() {
    let with = |provider, model: &str, temperature, thinking| {
        body(&ApiJudge { temperature, thinking, ..judge(provider, model) }).1
    };
    let low = Some(Thinking::Low);
    let sent = with(Provider::Anthropic, "claude-opus-4-8", None, low);
    assert_eq!(sent["output_config"]["effort"], "low");
    let sent = with(Provider::Anthropic, "claude-haiku-4-5-20251001", Some(0.3), None);
    assert_eq!((&sent["temperature"], &sent["output_config"]["effort"]), (&json!(0.3), &Value::Null));
    let sent = with(Provider::Openai, "gpt-5.4", Some(0.3), None);
    assert_eq!((&sent["temperature"], &sent["reasoning_effort"]), (&json!(0.3), &json!("none")));
    let sent = with(Provider::Openai, "gpt-4o-mini", Some(0.3), None);
    assert_eq!((&sent["temperature"], &sent["reasoning_effort"]), (&json!(0.3), &Value::Null));
    let sent = with(Provider::OpenaiResponses, "gpt-5.4", None, low);
    assert_eq!(sent["reasoning"]["effort"], "low");
    let sent = with(Provider::Google, "gemini-2.5-flash", Some(0.0), Some(Thinking::None));
    assert_eq!(sent["generationConfig"]["thinkingConfig"], json!({ "thinkingBudget": 0 }));
    let sent = with(Provider::Google, "gemini-2.5-flash", None, Some(Thinking::Medium));
    assert_eq!(sent["generationConfig"]["thinkingConfig"], json!({ "thinkingBudget": 500 }));
    let sent = with(Provider::Google, "gemini-3.1-pro-preview", None, low);
    assert_eq!(sent["generationConfig"]["thinkingConfig"], json!({ "thinkingLevel": "LOW" }));
    let sent = with(Provider::OpenaiCompatible, "qwen3", Some(0.0), Some(Thinking::None));
    assert_eq!(sent["chat_template_kwargs"], json!({ "enable_thinking": false }));
    assert_eq!(sent["reasoning_effort"], Value::Null);
}

fn response(status: u16, headers: &[(&str, &str)], body: Value) -> RawResponse {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let body = if let Value::String(text) = body { text } else { body.to_string() };
    RawResponse { status, headers, body }
}

/// What a response means, in one word, and how long it asks to be left alone.
fn meaning(provider: Provider, raw: &RawResponse) -> (&'static str, Option<u128>) {
    match read(of(provider).unwrap(), raw) {
        Ok(_) => ("answer", None),
        Err(Trouble::Question { .. }) => ("question", None),
        Err(Trouble::Judge { .. }) => ("judge", None),
        Err(Trouble::Again { after, cause, .. }) => {
            let word = match cause {
                Cause::RateLimited => "limited",
                Cause::Overloaded => "overloaded",
                Cause::Failed => "failed",
            };
            (word, after.map(|wait| wait.as_millis()))
        }
    }
}

#[test]
fn anthropics_errors_mean_what_its_sdk_makes_of_them() {
    let error = |kind: &str, message: &str| json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": "req_1" });
    let of = |status, headers: &[(&str, &str)], body| {
        meaning(Provider::Anthropic, &response(status, headers, body))
    };
    let limited = error("rate_limit_error", "too fast");
    assert_eq!(of(429, &[("retry-after", "17")], limited.clone()), ("limited", Some(17_000)));
    assert_eq!(
        of(429, &[("retry-after-ms", "250"), ("retry-after", "1")], limited.clone()),
        ("limited", Some(250))
    );
    assert_eq!(of(429, &[("retry-after", "86400")], limited.clone()), ("judge", None));
    assert_eq!(of(429, &[("x-should-retry", "false")], limited), ("question", None));
    assert_eq!(of(529, &[], error("overloaded_error", "Overloaded")), ("overloaded", None));
    assert_eq!(of(500, &[], error("api_error", "oh")), ("failed", None));
    assert_eq!(of(504, &[], error("timeout_error", "oh")), ("failed", None));
    assert_eq!(of(401, &[], error("authentication_error", "invalid x-api-key")), ("judge", None));
    assert_eq!(of(402, &[], error("billing_error", "pay")), ("judge", None));
    assert_eq!(of(403, &[], error("permission_error", "no")), ("judge", None));
    assert_eq!(of(404, &[], error("not_found_error", "model: claude-2")), ("judge", None));
    assert_eq!(of(400, &[], error("invalid_request_error", "prompt is too long")), ("question", None));
    let temperature = error("invalid_request_error", "`temperature` is deprecated for this model.");
    assert_eq!(of(400, &[], temperature), ("question", None));
    assert_eq!(of(413, &[], json!("<html>413 Request Entity Too Large</html>")), ("question", None));
    assert_eq!(of(200, &[], json!("{\"type\":\"mess")), ("failed", None));
}

#[test]
fn openais_quota_is_gone_for_good_and_its_limits_are_not() {
    let error = |kind: &str, code: &str| json!({ "error": { "message": "the message", "type": kind, "param": null, "code": code } });
    for provider in [Provider::Openai, Provider::OpenaiResponses, Provider::OpenaiCompatible] {
        let of = |status, headers: &[(&str, &str)], body| meaning(provider, &response(status, headers, body));
        assert_eq!(of(429, &[], error("insufficient_quota", "insufficient_quota")), ("judge", None));
        let limited = || error("requests", "rate_limit_exceeded");
        assert_eq!(of(429, &[("retry-after", "3")], limited()), ("limited", Some(3_000)));
        assert_eq!(of(429, &[("x-ratelimit-reset-requests", "6m0s")], limited()), ("limited", Some(360_000)));
        assert_eq!(of(429, &[], limited()), ("limited", None));
        assert_eq!(of(503, &[], error("server_error", "")), ("overloaded", None));
        assert_eq!(of(401, &[], error("invalid_request_error", "invalid_api_key")), ("judge", None));
        assert_eq!(of(404, &[], error("invalid_request_error", "model_not_found")), ("judge", None));
        assert_eq!(
            of(400, &[], error("invalid_request_error", "context_length_exceeded")),
            ("question", None)
        );
    }
    let failed = |code: &str| {
        let body = json!({ "id": "resp_1", "model": "gpt-5.4", "status": "failed", "output": [],
            "error": { "code": code, "message": "no" } });
        meaning(Provider::OpenaiResponses, &response(200, &[], body))
    };
    assert_eq!(
        (failed("server_error"), failed("rate_limit_exceeded")),
        (("failed", None), ("limited", None))
    );
    assert_eq!(failed("invalid_prompt"), ("question", None));
}

#[test]
fn geminis_delay_and_quota_stand_in_the_body() {
    let error = |status: u16, quota: &str, delay: &str| {
        json!({ "error": { "code": status, "message": "exceeded", "status": "RESOURCE_EXHAUSTED", "details": [
            { "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{ "quotaId": quota, "quotaValue": "10" }] },
            { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay }] } })
    };
    let of = |status, body| meaning(Provider::Google, &response(status, &[], body));
    let minute = error(429, "GenerateRequestsPerMinutePerProjectPerModel", "42s");
    assert_eq!(of(429, minute.clone()), ("limited", Some(42_000)));
    assert_eq!(of(429, json!([minute])), ("limited", Some(42_000)));
    assert_eq!(of(429, error(429, "GenerateRequestsPerDayPerProjectPerModel", "42s")), ("judge", None));
    assert_eq!(of(429, json!({ "error": { "code": 429, "message": "no details" } })), ("limited", None));
    assert_eq!(of(503, json!([{ "error": { "code": 503, "message": "overloaded" } }])), ("overloaded", None));
    let bad_key =
        json!({ "error": { "code": 400, "message": "API key not valid. Please pass a valid API key." } });
    assert_eq!(of(400, bad_key), ("judge", None));
    assert_eq!(
        of(400, json!({ "error": { "code": 400, "message": "too many tokens" } })),
        ("question", None)
    );
    let seen = super::of(Provider::Google).unwrap().seen(&response(429, &[], minute), 0);
    assert_eq!(
        seen.requests,
        Level { limit: Some(10), remaining: Some(0), reset: Some(Duration::from_secs(42)) }
    );
}

#[test]
fn limits_are_read_from_headers() {
    let anthropic = response(
        200,
        &[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-02-25T20:02:32Z"),
            ("anthropic-ratelimit-input-tokens-limit", "30000"),
            ("anthropic-ratelimit-output-tokens-limit", "8000"),
        ],
        json!({}),
    );
    let moment = waits::rfc3339_unix_s("2026-02-25T20:02:02Z").unwrap();
    assert_eq!(moment, 1_772_049_722);
    let seen = of(Provider::Anthropic).unwrap().seen(&anthropic, moment);
    let half_a_minute = Some(Duration::from_secs(30));
    assert_eq!(seen.requests, Level { limit: Some(50), remaining: Some(49), reset: half_a_minute });
    assert_eq!((seen.input_tokens.limit, seen.output_tokens.limit), (Some(30_000), Some(8_000)));
    let openai = response(
        200,
        &[
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-remaining-requests", "499"),
            ("x-ratelimit-reset-requests", "120ms"),
            ("x-ratelimit-limit-tokens", "30000"),
        ],
        json!({}),
    );
    let seen = of(Provider::Openai).unwrap().seen(&openai, 0);
    assert_eq!(seen.requests.reset, Some(Duration::from_millis(120)));
    assert_eq!(seen.input_tokens.limit, Some(30_000));
    for (text, ms) in [("1s", 1_000), ("6m0s", 360_000), ("1h2m3.5s", 3_723_500), ("42s", 42_000)] {
        assert_eq!(waits::go_duration(text).map(|wait| wait.as_millis()), Some(ms), "{text}");
    }
    assert_eq!((waits::go_duration("soon"), waits::go_duration("5")), (None, None));
    assert_eq!(waits::rfc3339_unix_s("1970-01-01T00:00:00Z"), Some(0));
    assert_eq!((waits::rfc3339_unix_s("2026-13-01T00:00:00Z"), waits::rfc3339_unix_s("soon")), (None, None));
}
