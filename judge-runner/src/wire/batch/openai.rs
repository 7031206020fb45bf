//! OpenAI's batches, for Chat and Responses alike: a file of requests, and files of results. Our tag is in the metadata.

use std::collections::BTreeMap;

use assay_domain::job::ApiJudge;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::{Batch, Batches, Call, Item, Outcome, Page, State, base, came, parse, parse_lines};
use crate::wire::{Trouble, quoted};

/// Batches of one page, at most.
const PAGE: u32 = 100;
/// The metadata's name for our tag.
const TAG: &str = "assay_tag";

pub(super) struct FileBatches {
    pub(super) endpoint: &'static str,
}

#[derive(Serialize)]
struct RequestLine<'a> {
    custom_id: &'a str,
    method: &'static str,
    url: &'static str,
    body: &'a RawValue,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct BatchObject {
    id: String,
    status: String,
    #[serde(default)]
    errors: Option<Errors>,
    #[serde(default)]
    output_file_id: Option<String>,
    #[serde(default)]
    error_file_id: Option<String>,
    #[serde(default)]
    created_at: Option<u64>,
    /// Empty where the batch was refused as a whole.
    #[serde(default)]
    request_counts: Option<Counts>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
struct Counts {
    #[serde(default)]
    total: u64,
    #[serde(default)]
    completed: u64,
    #[serde(default)]
    failed: u64,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    data: Vec<BatchError>,
}

#[derive(Deserialize)]
struct BatchError {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
struct List {
    data: Vec<BatchObject>,
    #[serde(default)]
    has_more: bool,
    #[serde(default)]
    last_id: Option<String>,
}

#[derive(Deserialize)]
struct ResultLine {
    custom_id: String,
    response: Option<Response>,
    error: Option<BatchError>,
}

#[derive(Deserialize)]
struct Response {
    status_code: u16,
    body: Box<RawValue>,
}

impl FileBatches {
    fn read(judge: &ApiJudge, batch: BatchObject) -> Batch {
        let counts = batch.request_counts.unwrap_or_default();
        let state = match batch.status.as_str() {
            "completed" | "expired" => State::Ended,
            "cancelled" => State::Cancelled,
            "failed" => State::Failed(refused(batch.errors)),
            // validating, in_progress, finalizing, cancelling
            _ => State::Running,
        };
        let file = |id: &String| Call::Get(format!("{}/files/{id}/content", base(judge)));
        Batch {
            tag: batch.metadata.and_then(|mut told| told.remove(TAG)),
            made_unix_s: batch.created_at,
            questions: counts.total,
            ended: counts.completed + counts.failed,
            state,
            // Answers are in the one, what failed or expired in the other.
            results: [&batch.output_file_id, &batch.error_file_id].into_iter().flatten().map(file).collect(),
            id: batch.id,
        }
    }

    fn listed(judge: &ApiJudge, after: &str) -> Call {
        Call::Get(format!("{}/batches?limit={PAGE}{after}", base(judge)))
    }
}

/// A batch that was refused as a whole.
fn refused(errors: Option<Errors>) -> Trouble {
    let first = errors.and_then(|errors| errors.data.into_iter().next());
    let (code, message) = first.map_or((None, None), |error| (error.code, error.message));
    let (code, message) = (code.unwrap_or_default(), message.unwrap_or_default());
    let why = format!("the batch was refused ({code}): {}", quoted(&message));
    match code.as_str() {
        "token_limit_exceeded" | "rate_limit_exceeded" => {
            Trouble::Again { why, after: None, cause: crate::wire::Cause::RateLimited }
        }
        _ => Trouble::Judge { why },
    }
}

impl Batches for FileBatches {
    fn prepare(&self, judge: &ApiJudge, tag: &str, items: &[Item]) -> serde_json::Result<Option<Call>> {
        let line = |item: &Item| {
            let line =
                RequestLine { custom_id: &item.id, method: "POST", url: self.endpoint, body: &item.body };
            // A schema goes out as it was written, on several lines; a line break of JSON is never part of a text.
            serde_json::to_string(&line).map(|line| line.replace(['\n', '\r'], " "))
        };
        let lines: Vec<String> = items.iter().map(line).collect::<Result<_, _>>()?;
        let url = format!("{}/files", base(judge));
        Ok(Some(Call::Upload { url, name: format!("{tag}.jsonl"), text: lines.join("\n") + "\n" }))
    }

    fn prepared(&self, body: &str) -> Result<String, Trouble> {
        Ok(parse::<Id>(body)?.id)
    }

    fn make(
        &self,
        judge: &ApiJudge,
        tag: &str,
        _: &[Item],
        prepared: Option<&str>,
    ) -> serde_json::Result<Call> {
        let body = json!({
            "input_file_id": prepared,
            "endpoint": self.endpoint,
            "completion_window": "24h",
            "metadata": { TAG: tag },
        });
        Ok(Call::Post { url: format!("{}/batches", base(judge)), body: body.to_string() })
    }

    fn look(&self, judge: &ApiJudge, id: &str) -> Call {
        Call::Get(format!("{}/batches/{id}", base(judge)))
    }

    fn batch(&self, judge: &ApiJudge, body: &str) -> Result<Batch, Trouble> {
        Ok(Self::read(judge, parse(body)?))
    }

    fn cancel(&self, judge: &ApiJudge, id: &str) -> Call {
        Call::Post { url: format!("{}/batches/{id}/cancel", base(judge)), body: String::new() }
    }

    fn list(&self, judge: &ApiJudge) -> Call {
        Self::listed(judge, "")
    }

    fn page(&self, judge: &ApiJudge, body: &str) -> Result<Page, Trouble> {
        let list: List = parse(body)?;
        let last = list.last_id.filter(|_| list.has_more);
        Ok(Page {
            batches: list.data.into_iter().map(|batch| Self::read(judge, batch)).collect(),
            next: last.map(|last| Self::listed(judge, &format!("&after={last}"))),
        })
    }

    fn outcomes(&self, body: &str) -> Result<Vec<(String, Outcome)>, Trouble> {
        let outcome = |line: ResultLine| {
            let code = line.error.and_then(|error| error.code).unwrap_or_default();
            let outcome = match (line.response, code.as_str()) {
                (Some(response), _) => came(response.status_code, &response.body),
                (None, "batch_cancelled") => Outcome::Cancelled,
                (None, _) => Outcome::Expired,
            };
            (line.custom_id, outcome)
        };
        Ok(parse_lines::<ResultLine>(body)?.into_iter().map(outcome).collect())
    }
}
