//! Against a real HTTP server that follows the recorded wire format, errors and limits included.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use assay_judging::prompt::{Message, Role};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;

use super::*;

type Answers = VecDeque<(u16, Vec<(&'static str, &'static str)>, Value)>;

/// What the server will say, and what it was asked.
#[derive(Clone, Default)]
struct Fake {
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

async fn completions(State(fake): State<Fake>, headers: HeaderMap, text: String) -> impl IntoResponse {
    assert!(text.contains(r#""schema":{"z":1,"a":2}"#), "the schema's keys are in another order: {text}");
    let body = serde_json::from_str(&text).unwrap();
    let key = headers.get("authorization").unwrap().to_str().unwrap().to_owned();
    fake.asked.lock().unwrap().push((key, body));
    let (status, told, body) = fake.answers.lock().unwrap().pop_front().expect("asked once too often");
    let mut headers = HeaderMap::new();
    for (name, value) in told {
        headers.insert(name, value.parse().unwrap());
    }
    (axum::http::StatusCode::from_u16(status).unwrap(), headers, Json(body))
}

async fn serve(
    answers: impl IntoIterator<Item = (u16, Vec<(&'static str, &'static str)>, Value)>,
) -> (Fake, ApiJudge) {
    let fake = Fake { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Fake::default() };
    let router = Router::new().route("/v1/chat/completions", post(completions)).with_state(fake.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let judge = ApiJudge {
        provider: String::from("openai"),
        model: String::from("gpt-4o-2024-08-06"),
        base_url: format!("http://{address}/v1/"),
        key_env: String::from("UNUSED"),
        temperature: Some(0.3),
        max_tokens: 1024,
    };
    (fake, judge)
}

async fn ask(judge: &ApiJudge) -> Result<Answer, AskError> {
    let prompt = JudgePrompt {
        messages: vec![Message { role: Role::User, content: String::from("Which is better?") }],
        prefill: None,
    };
    // The order of the keys is the order in which the judge writes them.
    let schema = RawValue::from_string(String::from(r#"{"z":1,"a":2}"#)).unwrap();
    OpenAi::new(judge, String::from("sk-planted")).unwrap().ask(&prompt, &schema).await
}

fn completion(content: Value, refusal: Value, finish_reason: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06",
        "choices": [{
            "index": 0, "finish_reason": finish_reason, "logprobs": null,
            "message": { "role": "assistant", "content": content, "refusal": refusal, "annotations": [] },
        }],
        "usage": { "prompt_tokens": 1320, "completion_tokens": 210, "total_tokens": 1530 },
        "service_tier": "default", "system_fingerprint": null,
    })
}

fn error(kind: &str, code: Value) -> Value {
    json!({ "error": { "message": "the message", "type": kind, "param": null, "code": code } })
}

#[tokio::test]
async fn an_answer_comes_with_its_model_and_tokens_and_the_request_is_as_documented() {
    let (fake, judge) = serve([(200, vec![], completion(json!("{}"), Value::Null, "stop"))]).await;
    let answer = ask(&judge).await.unwrap();
    assert_eq!((answer.text.as_deref(), answer.finish), (Some("{}"), Finish::Stop));
    assert_eq!((answer.prompt_tokens, answer.new_tokens), (1320, 210));
    let asked = fake.asked.lock().unwrap();
    let (key, body) = &asked[0];
    assert_eq!(key, "Bearer sk-planted");
    assert_eq!(body["response_format"]["json_schema"]["strict"], true);
    assert_eq!(body["max_completion_tokens"], 1024);
    assert_eq!(body["messages"][0], json!({ "role": "user", "content": "Which is better?" }));
}

#[tokio::test]
async fn a_rate_limit_and_a_server_error_are_waited_out() {
    let (fake, judge) = serve([
        (429, vec![("retry-after", "0")], error("requests", json!("rate_limit_exceeded"))),
        (503, vec![("retry-after-ms", "1")], error("server_error", Value::Null)),
        (200, vec![], completion(json!("{}"), Value::Null, "stop")),
    ])
    .await;
    ask(&judge).await.unwrap();
    assert_eq!(fake.asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn what_cannot_help_is_asked_once_and_the_key_is_in_no_message() {
    for (status, headers, body) in [
        (429, vec![], error("insufficient_quota", json!("insufficient_quota"))),
        (429, vec![("retry-after", "86400")], error("requests", json!("rate_limit_exceeded"))),
        (401, vec![], error("invalid_request_error", json!("invalid_api_key"))),
        (404, vec![], error("invalid_request_error", json!("model_not_found"))),
        (400, vec![], error("invalid_request_error", json!("context_length_exceeded"))),
    ] {
        let (fake, judge) = serve([(status, headers, body)]).await;
        let refused = ask(&judge).await.unwrap_err();
        assert!(matches!(refused, AskError::Refused { .. }), "{refused}");
        assert!(refused.to_string().contains("the message"), "{refused}");
        assert!(!format!("{refused:?}").contains("sk-planted"));
        assert_eq!(fake.asked.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn refusals_filters_and_cut_answers_keep_what_they_are() {
    let (_, judge) = serve([(200, vec![], completion(Value::Null, json!("I cannot"), "stop"))]).await;
    assert_eq!(ask(&judge).await.unwrap().refusal.as_deref(), Some("I cannot"));
    let (_, judge) = serve([(200, vec![], completion(json!("{\"rea"), Value::Null, "length"))]).await;
    assert_eq!(ask(&judge).await.unwrap().finish, Finish::Length);
    let (_, judge) = serve([(200, vec![], completion(Value::Null, Value::Null, "content_filter"))]).await;
    assert_eq!(ask(&judge).await.unwrap().finish, Finish::Filtered);
}
