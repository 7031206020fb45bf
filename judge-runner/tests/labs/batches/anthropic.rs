//! Message Batches.

use axum::http::{Method, Uri};
use serde_json::{Value, json};

use super::super::Shared;
use super::{Batches, Fate, Made, bodies, cancel, ending, look, make, not_found, query, refused, rfc3339};

const ROOT: &str = "/v1/messages/batches";

pub(super) fn answer(lab: &Shared, method: &Method, uri: &Uri, text: &str) -> bodies::Raw {
    let rest = uri.path().strip_prefix(ROOT).unwrap();
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    match (method, parts.as_slice()) {
        (&Method::POST, []) => created(lab, text),
        (&Method::GET, []) => list(lab, uri),
        (&Method::GET, [id]) => match look(lab, id) {
            Some(number) => (200, headers(), batch(&lab.batches.lock().unwrap().made[number]).to_string()),
            None => not_found(),
        },
        (&Method::POST, [id, "cancel"]) => match cancel(lab, id) {
            Some(number) => (200, headers(), batch(&lab.batches.lock().unwrap().made[number]).to_string()),
            None => ended_already(),
        },
        (&Method::GET, [id, "results"]) => results(&lab.batches.lock().unwrap(), id),
        _ => not_found(),
    }
}

fn ended_already() -> bodies::Raw {
    let error = json!({ "type": "invalid_request_error", "message": "Batch has already ended." });
    (400, headers(), json!({ "type": "error", "error": error }).to_string())
}

fn headers() -> Vec<(&'static str, String)> {
    vec![("request-id", String::from("req_011CYUXXXXXXXXXXXXXXXXXX"))]
}

fn created(lab: &Shared, text: &str) -> bodies::Raw {
    let body: Value = serde_json::from_str(text).unwrap();
    let items: Vec<(String, Value)> = body["requests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|request| (request["custom_id"].as_str().unwrap().to_owned(), request["params"].clone()))
        .collect();
    for (id, _) in &items {
        let sound = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        assert!((1..=64).contains(&id.len()) && id.chars().all(sound), "custom_id {id}");
    }
    let number = make(lab, |number| format!("msgbatch_013Zva2CMHLNnXjNJJKqJ{number:03}"), Value::Null, items);
    (200, headers(), batch(&lab.batches.lock().unwrap().made[number]).to_string())
}

/// Newest first.
fn list(lab: &Shared, uri: &Uri) -> bodies::Raw {
    let batches = lab.batches.lock().unwrap();
    // Small pages, so that there are several.
    let limit = query(uri, "limit").unwrap().parse::<usize>().unwrap().min(2);
    let after = query(uri, "after_id");
    let all: Vec<&Made> = batches.made.iter().rev().collect();
    let from = after.map_or(0, |after| all.iter().position(|made| made.id == after).unwrap() + 1);
    let page: Vec<&&Made> = all[from..].iter().take(limit).collect();
    let id = |made: Option<&&&Made>| made.map_or(Value::Null, |made| json!(made.id));
    let body = json!({
        "data": page.iter().map(|made| batch(made)).collect::<Vec<_>>(),
        "has_more": from + page.len() < all.len(), "first_id": id(page.first()), "last_id": id(page.last()),
    });
    (200, headers(), body.to_string())
}

fn batch(made: &Made) -> Value {
    let ended = made.results.is_some() || refused(made);
    let (all, answered) = (made.items.len(), made.answered());
    let errored = made.results.iter().flatten().flat_map(|(_, raw)| raw).filter(|raw| raw.0 != 200).count();
    let rest = if ended { all - answered } else { 0 };
    let (canceled, expired) = if made.fate == Fate::Cancelled { (rest, 0) } else { (0, rest) };
    let results = format!("https://api.anthropic.com{ROOT}/{}/results", made.id);
    let status = match (ended, ending(made)) {
        (true, _) => "ended",
        (false, true) => "canceling",
        (false, false) => "in_progress",
    };
    json!({
        "id": made.id, "type": "message_batch", "processing_status": status,
        "request_counts": { "processing": if ended { 0 } else { all }, "succeeded": answered - errored,
            "errored": errored, "canceled": canceled, "expired": expired },
        "ended_at": ended.then(|| rfc3339(made.created)), "created_at": rfc3339(made.created),
        "expires_at": rfc3339(made.created + 86_400), "archived_at": null, "cancel_initiated_at": null,
        "results_url": ended.then_some(results),
    })
}

fn results(batches: &Batches, id: &str) -> bodies::Raw {
    let made = batches.made.iter().find(|made| made.id == id).unwrap();
    let refused: Vec<_> = made.items.iter().map(|(id, _)| (id.clone(), None)).collect();
    let line = |(id, raw): &(String, Option<bodies::Raw>)| {
        let result = match raw {
            None if made.fate == Fate::Cancelled => json!({ "type": "canceled" }),
            None => json!({ "type": "expired" }),
            Some((200, _, body)) => {
                json!({ "type": "succeeded", "message": serde_json::from_str::<Value>(body).unwrap() })
            }
            Some((_, _, body)) => {
                let unknown = json!({ "type": "error", "error": { "type": "api_error", "message": "Internal server error" } });
                json!({ "type": "errored", "error": serde_json::from_str::<Value>(body).unwrap_or(unknown) })
            }
        };
        json!({ "custom_id": id, "result": result }).to_string()
    };
    let lines: Vec<String> = made.results.as_ref().unwrap_or(&refused).iter().map(line).collect();
    (200, vec![("content-type", String::from("application/x-jsonl"))], lines.join("\n") + "\n")
}
