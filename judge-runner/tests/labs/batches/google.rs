//! Operations that hold their requests and answers.

use axum::http::{Method, Uri};
use serde_json::{Value, json};

use super::super::Shared;
use super::{Fate, Made, bodies, cancel, look, make, not_found, query, refused, rfc3339};

const TYPE: &str = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch";

pub(super) fn answer(lab: &Shared, method: &Method, uri: &Uri, text: &str) -> bodies::Raw {
    let path = uri.path().trim_start_matches("/v1beta/");
    match *method {
        Method::POST if path.ends_with(":batchGenerateContent") => created(lab, text),
        Method::POST if path.ends_with(":cancel") => match cancel(lab, path.trim_end_matches(":cancel")) {
            Some(_) => ok(&json!({})),
            None => ended_already(),
        },
        Method::GET if path == "batches" => list(lab, uri),
        Method::GET => match look(lab, path) {
            Some(number) => ok(&operation(&lab.batches.lock().unwrap().made[number], true)),
            None => not_found(),
        },
        _ => not_found(),
    }
}

fn ended_already() -> bodies::Raw {
    let error = json!({ "code": 400, "message": "Batch is not running.", "status": "FAILED_PRECONDITION" });
    (400, vec![], json!({ "error": error }).to_string())
}

fn ok(body: &Value) -> bodies::Raw {
    (200, vec![], body.to_string())
}

fn created(lab: &Shared, text: &str) -> bodies::Raw {
    assert!(text.len() < 20_000_000, "more than Gemini takes");
    let body: Value = serde_json::from_str(text).unwrap();
    let batch = &body["batch"];
    let items = batch["inputConfig"]["requests"]["requests"].as_array().unwrap();
    let items = items
        .iter()
        .map(|item| (item["metadata"]["key"].as_str().unwrap().to_owned(), item["request"].clone()))
        .collect();
    let number = make(lab, |number| format!("batches/q{number:06}"), batch["displayName"].clone(), items);
    ok(&operation(&lab.batches.lock().unwrap().made[number], false))
}

fn list(lab: &Shared, uri: &Uri) -> bodies::Raw {
    let batches = lab.batches.lock().unwrap();
    let limit = query(uri, "pageSize").unwrap().parse::<usize>().unwrap().min(2);
    let from: usize = query(uri, "pageToken").map_or(0, |token| token.parse().unwrap());
    let page: Vec<Value> =
        batches.made.iter().rev().skip(from).take(limit).map(|made| operation(made, false)).collect();
    let next = (from + page.len() < batches.made.len()).then(|| (from + page.len()).to_string());
    // A page without anything has neither member.
    let mut body = if page.is_empty() { json!({}) } else { json!({ "operations": page }) };
    if let Some(next) = next {
        body["nextPageToken"] = json!(next);
    }
    ok(&body)
}

fn operation(made: &Made, whole: bool) -> Value {
    let ended = made.results.is_some();
    let state = match (ended, made.fate) {
        _ if refused(made) => "BATCH_STATE_FAILED",
        (false, _) => "BATCH_STATE_RUNNING",
        (true, Fate::Expires) => "BATCH_STATE_EXPIRED",
        (true, Fate::Cancelled) => "BATCH_STATE_CANCELLED",
        (true, Fate::Ends | Fate::Refused | Fate::Runs) => "BATCH_STATE_SUCCEEDED",
    };
    let all = made.items.len();
    let pending = if ended { all - made.answered() } else { all };
    let mut operation = json!({ "name": made.id, "metadata": {
        "@type": TYPE, "model": "models/gemini-2.5-flash-lite", "displayName": made.tag, "name": made.id,
        "createTime": rfc3339(made.created), "updateTime": rfc3339(made.created), "state": state,
        "batchStats": { "requestCount": all.to_string(), "pendingRequestCount": pending.to_string() },
    } });
    if refused(made) {
        operation["done"] = json!(true);
        operation["error"] = json!({ "code": 7, "message": "The project has been denied access.", "status": "PERMISSION_DENIED" });
    }
    if ended && whole {
        let answered = made.results.iter().flatten().filter_map(|(id, raw)| Some((id, raw.as_ref()?)));
        let inlined: Vec<Value> = answered.map(|(id, raw)| inlined(id, raw)).collect();
        operation["done"] = json!(true);
        operation["metadata"]["endTime"] = json!(rfc3339(made.created));
        operation["metadata"]["output"] = json!({ "inlinedResponses": { "inlinedResponses": inlined } });
    }
    operation
}

fn inlined(id: &str, (status, _, body): &bodies::Raw) -> Value {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    if *status == 200 {
        return json!({ "response": body, "metadata": { "key": id } });
    }
    let error = body.get(0).unwrap_or(&body)["error"].clone();
    // A result has the canonical code where a lone answer has the status.
    let code = match status {
        400 => 3,
        404 => 5,
        429 => 8,
        503 => 14,
        _ => 13,
    };
    json!({ "error": { "code": code, "message": error["message"], "details": error["details"] }, "metadata": { "key": id } })
}
