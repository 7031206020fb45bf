//! Files and batches.

use axum::http::{Method, Uri};
use serde_json::{Value, json};

use super::super::{Api, Shared};
use super::{Fate, Made, bodies, cancel, ending, look, make, not_found, query, refused, unix_s};

pub(super) fn answer(lab: &Shared, method: &Method, uri: &Uri, text: &str) -> bodies::Raw {
    let parts: Vec<&str> = uri.path().trim_start_matches("/v1/").split('/').collect();
    match (method, parts.as_slice()) {
        (&Method::POST, ["files"]) => uploaded(lab, text),
        (&Method::GET, ["files", id, "content"]) => content(lab, id),
        (&Method::POST, ["batches"]) => created(lab, text),
        (&Method::GET, ["batches"]) => list(lab, uri),
        (&Method::GET, ["batches", id]) => match look(lab, id) {
            Some(number) => ok(&batch(lab, &lab.batches.lock().unwrap().made[number])),
            None => not_found(),
        },
        (&Method::POST, ["batches", id, "cancel"]) => match cancel(lab, id) {
            Some(number) => ok(&batch(lab, &lab.batches.lock().unwrap().made[number])),
            None => ended_already(),
        },
        _ => not_found(),
    }
}

fn ended_already() -> bodies::Raw {
    let message = "Cannot cancel a batch with status 'completed'.";
    let error = json!({ "message": message, "type": "invalid_request_error", "param": null, "code": null });
    (409, vec![], json!({ "error": error }).to_string())
}

fn ok(body: &Value) -> bodies::Raw {
    (200, vec![("x-request-id", String::from("req_4d5e"))], body.to_string())
}

const fn endpoint(lab: &Shared) -> &'static str {
    if matches!(lab.api, Api::Responses) { "/v1/responses" } else { "/v1/chat/completions" }
}

/// A form with `purpose` and `file`.
fn uploaded(lab: &Shared, text: &str) -> bodies::Raw {
    let boundary = text.lines().next().unwrap();
    let parts: Vec<(&str, &str)> =
        text.split(boundary).filter_map(|part| part.split_once("\r\n\r\n")).collect();
    let part = |name: &str| {
        let named = format!("name=\"{name}\"");
        parts.iter().find(|(head, _)| head.contains(&named)).map(|(_, body)| body.trim_end_matches("\r\n"))
    };
    assert_eq!(part("purpose"), Some("batch"), "{text}");
    let file = part("file").unwrap().to_owned();
    let mut batches = lab.batches.lock().unwrap();
    let id = format!("file-{:06}", batches.files.len());
    let body = json!({ "id": id, "object": "file", "bytes": file.len(), "created_at": unix_s(),
        "filename": "questions.jsonl", "purpose": "batch" });
    batches.files.insert(id, file);
    ok(&body)
}

fn created(lab: &Shared, text: &str) -> bodies::Raw {
    let body: Value = serde_json::from_str(text).unwrap();
    assert_eq!((&body["endpoint"], &body["completion_window"]), (&json!(endpoint(lab)), &json!("24h")));
    let file = lab.batches.lock().unwrap().files[body["input_file_id"].as_str().unwrap()].clone();
    let item = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["method"], &line["url"]), (&json!("POST"), &json!(endpoint(lab))));
        (line["custom_id"].as_str().unwrap().to_owned(), line["body"].clone())
    };
    let items = file.lines().map(item).collect();
    let number = make(lab, |number| format!("batch_{number:06}"), body["metadata"].clone(), items);
    ok(&batch(lab, &lab.batches.lock().unwrap().made[number]))
}

fn list(lab: &Shared, uri: &Uri) -> bodies::Raw {
    let batches = lab.batches.lock().unwrap();
    let limit = query(uri, "limit").unwrap().parse::<usize>().unwrap().min(2);
    let all: Vec<&Made> = batches.made.iter().rev().collect();
    let from =
        query(uri, "after").map_or(0, |after| all.iter().position(|made| made.id == after).unwrap() + 1);
    let page: Vec<&&Made> = all[from..].iter().take(limit).collect();
    let id = |made: Option<&&&Made>| made.map_or(Value::Null, |made| json!(made.id));
    ok(&json!({
        "object": "list", "data": page.iter().map(|made| batch(lab, made)).collect::<Vec<_>>(),
        "first_id": id(page.first()), "last_id": id(page.last()), "has_more": from + page.len() < all.len(),
    }))
}

fn batch(lab: &Shared, made: &Made) -> Value {
    let ended = made.results.is_some();
    let status = match (ended, made.fate) {
        _ if refused(made) => "failed",
        (false, _) if ending(made) => "cancelling",
        (false, _) => "in_progress",
        (true, Fate::Expires) => "expired",
        (true, Fate::Cancelled) => "cancelled",
        (true, Fate::Ends | Fate::Refused | Fate::Runs) => "completed",
    };
    let failed = |made: &Made| {
        made.results.iter().flatten().filter(|(_, raw)| raw.as_ref().is_none_or(|raw| raw.0 != 200)).count()
    };
    let (all, failed) = (made.items.len(), failed(made));
    let errors = refused(made).then(|| {
        json!({ "object": "list", "data": [{ "code": "billing_hard_limit_reached",
            "message": "Billing hard limit has been reached.", "param": null, "line": null }] })
    });
    let counts = if refused(made) {
        json!({ "total": 0, "completed": 0, "failed": 0 })
    } else {
        json!({ "total": all, "completed": if ended { all - failed } else { 0 }, "failed": failed })
    };
    json!({
        "id": made.id, "object": "batch", "endpoint": endpoint(lab), "errors": errors, "input_file_id": "file-000000",
        "completion_window": "24h", "status": status,
        "output_file_id": (ended && failed < all).then(|| format!("{}-output", made.id)),
        "error_file_id": (ended && failed > 0).then(|| format!("{}-error", made.id)),
        "created_at": made.created, "in_progress_at": made.created, "expires_at": made.created + 86_400,
        "finalizing_at": null, "completed_at": null, "failed_at": null, "expired_at": null, "cancelling_at": null,
        "cancelled_at": null, "request_counts": counts, "metadata": made.tag,
    })
}

/// The one file has answers, the other errors.
fn content(lab: &Shared, id: &str) -> bodies::Raw {
    let batches = lab.batches.lock().unwrap();
    let (batch, wants) = id.rsplit_once('-').unwrap();
    let made = batches.made.iter().find(|made| made.id == batch).unwrap();
    let line = |(id, raw): &(String, Option<bodies::Raw>)| {
        let is_answer = raw.as_ref().is_some_and(|raw| raw.0 == 200);
        let response = raw.as_ref().map(|(status, _, body)| {
            let body = serde_json::from_str(body)
                .unwrap_or_else(|_| json!({ "error": { "message": "bad gateway" } }));
            json!({ "status_code": status, "request_id": "req_c187b3", "body": body })
        });
        let (code, message) = match made.fate {
            Fate::Cancelled => {
                ("batch_cancelled", "This request could not be executed because the batch was cancelled.")
            }
            Fate::Ends | Fate::Expires | Fate::Refused | Fate::Runs => {
                ("batch_expired", "This request could not be executed before the completion window expired.")
            }
        };
        let error = raw.is_none().then(|| json!({ "code": code, "message": message }));
        let line = json!({ "id": "batch_req_wnaDys", "custom_id": id, "response": response, "error": error });
        (is_answer == (wants == "output")).then(|| line.to_string())
    };
    let lines: Vec<String> = made.results.iter().flatten().filter_map(line).collect();
    (200, vec![("content-type", String::from("application/octet-stream"))], lines.join("\n") + "\n")
}
