//! The labs' batch endpoints: files, lists, looks and results, out of order, as each lab writes them.

mod anthropic;
mod google;
mod openai;

use std::collections::BTreeMap;
use std::time::SystemTime;

use axum::http::{Method, Uri};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Api, Asked, Says, Shared, bodies, count, respond};

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// All of it is answered.
    Ends,
    /// Its time ran out after every second question.
    Expires,
    /// Somebody cancelled it after every second question.
    Cancelled,
    /// It runs until it is cancelled.
    Runs,
    /// It is refused as a whole once it was looked at.
    Refused,
}

/// A lab's batches, and what it does with the next.
pub(crate) struct Batches {
    /// By the batch's number.
    pub(crate) fate: fn(usize) -> Fate,
    /// The call about batches, by number, that never gets an answer, and whether it has its effect.
    pub(crate) silent: Option<(usize, bool)>,
    /// Told when that call came.
    pub(crate) silenced: watch::Sender<bool>,
    /// Looks at batches so far.
    pub(crate) looked: watch::Sender<usize>,
    /// Batches that were cancelled through the API.
    pub(crate) cancelled: usize,
    /// Calls about batches so far.
    pub(crate) calls: usize,
    /// Files by id.
    files: BTreeMap<String, String>,
    pub(crate) made: Vec<Made>,
}

impl Default for Batches {
    fn default() -> Self {
        Self {
            fate: |_| Fate::Ends,
            silent: None,
            silenced: watch::Sender::new(false),
            looked: watch::Sender::new(0),
            cancelled: 0,
            calls: 0,
            files: BTreeMap::new(),
            made: Vec::new(),
        }
    }
}

impl Batches {
    /// A batch comes to its end although nobody looks.
    pub(crate) fn end(&mut self, number: usize) {
        self.made[number].ends = true;
    }
}

/// A batch.
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) tag: Value,
    pub(crate) created: u64,
    pub(crate) fate: Fate,
    /// (custom id, request).
    pub(crate) items: Vec<(String, Value)>,
    looks: usize,
    /// Whether it can be cancelled no more.
    ends: bool,
    /// What came of each item, in the lab's own order; none until it ended.
    pub(crate) results: Option<Vec<(String, Option<bodies::Raw>)>>,
}

impl Made {
    fn answered(&self) -> usize {
        self.results.iter().flatten().filter(|(_, raw)| raw.is_some()).count()
    }
}

/// Whether a path is about batches.
pub(super) fn is_about(uri: &Uri) -> bool {
    let path = uri.path();
    path.contains("/batches") || path.contains("/files") || path.ends_with(":batchGenerateContent")
}

/// Answers a call about batches, unless it is the one that is never answered.
pub(super) async fn answer(lab: &Shared, method: &Method, uri: &Uri, text: &str) -> Response {
    let silent = {
        let mut batches = lab.batches.lock().unwrap();
        let number = batches.calls;
        batches.calls += 1;
        batches.silent.filter(|(at, _)| *at == number)
    };
    if let Some((_, false)) = silent {
        return never(lab).await;
    }
    let raw = match lab.api {
        Api::Anthropic => anthropic::answer(lab, method, uri, text),
        Api::Chat | Api::Responses => openai::answer(lab, method, uri, text),
        Api::Gemini => google::answer(lab, method, uri, text),
        Api::Compatible => not_found(),
    };
    if silent.is_some() {
        return never(lab).await;
    }
    respond(raw)
}

async fn never(lab: &Shared) -> Response {
    lab.batches.lock().unwrap().silenced.send_replace(true);
    std::future::pending().await
}

fn not_found() -> bodies::Raw {
    (404, vec![], json!({ "detail": "Not Found" }).to_string())
}

/// A parameter of a query.
fn query<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Adds a batch; its number.
fn make(lab: &Shared, id: impl Fn(usize) -> String, tag: Value, items: Vec<(String, Value)>) -> usize {
    let mut batches = lab.batches.lock().unwrap();
    let number = batches.made.len();
    let fate = (batches.fate)(number);
    let made =
        Made { id: id(number), tag, created: unix_s(), fate, items, looks: 0, ends: false, results: None };
    batches.made.push(made);
    number
}

/// Looks at a batch: it runs when it is looked at for the first time, and has ended after that.
fn look(lab: &Shared, id: &str) -> Option<usize> {
    let mut batches = lab.batches.lock().unwrap();
    let number = batches.made.iter().position(|made| made.id == id)?;
    batches.looked.send_modify(|looks| *looks += 1);
    let made = &mut batches.made[number];
    made.looks += 1;
    if made.looks > 1 && made.results.is_none() && !matches!(made.fate, Fate::Refused | Fate::Runs) {
        let answered = |at: usize| made.fate == Fate::Ends || at.is_multiple_of(2);
        let mut results: Vec<(String, Option<bodies::Raw>)> = made
            .items
            .iter()
            .enumerate()
            .map(|(at, (id, request))| (id.clone(), answered(at).then(|| said(lab, request))))
            .collect();
        // Out of order, always.
        results.reverse();
        let half = results.len() / 2;
        results.rotate_left(half);
        made.results = Some(results);
    }
    Some(number)
}

/// Cancels a batch that has not ended: what it has answered by then, it keeps. None where there is none, or it has ended.
fn cancel(lab: &Shared, id: &str) -> Option<usize> {
    let mut batches = lab.batches.lock().unwrap();
    let number =
        batches.made.iter().position(|made| made.id == id && made.results.is_none() && !made.ends)?;
    batches.cancelled += 1;
    batches.made[number].fate = Fate::Cancelled;
    batches.made[number].looks = 0;
    Some(number)
}

/// Whether it was cancelled and still ends what is under way.
fn ending(made: &Made) -> bool {
    made.fate == Fate::Cancelled && made.results.is_none() && made.looks <= 1
}

fn refused(made: &Made) -> bool {
    made.fate == Fate::Refused && made.looks > 1
}

/// What the lab's script says to one question.
fn said(lab: &Shared, request: &Value) -> bodies::Raw {
    let prompt = bodies::prompt_of(lab.api, request);
    let times = count(&lab.asked, &prompt);
    let says = (lab.script)(&Asked { prompt: &prompt, times, ordinal: 0 });
    if let Says::Verdict(_) = says {
        count(&lab.verdicts, &prompt);
    }
    bodies::response(lab.api, says, request)
}

fn unix_s() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a server dates what it makes")]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// `2026-02-25T20:02:32.100435Z`.
fn rfc3339(unix_s: u64) -> String {
    let (days, rest) = (unix_s / 86_400, unix_s % 86_400);
    let (mut year, mut day) = (1970, days);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.100435Z", day + 1)
}
