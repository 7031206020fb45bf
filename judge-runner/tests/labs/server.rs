//! Real HTTP servers that answer as the labs do, byte for byte where it matters, faults included; and count what they were asked.

pub(crate) mod batches;
mod bodies;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use futures::stream;
use serde_json::Value;
use tokio::sync::watch;

/// Whose protocol a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Anthropic,
    Chat,
    Responses,
    Gemini,
    Compatible,
}

/// What a server says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// A verdict for this label.
    Verdict(&'static str),
    /// Text that is no verdict.
    Prose(&'static str),
    Refusal,
    /// A filter's word; the prompt's, where the API tells the two apart and `prompt` is set.
    Blocked {
        prompt: bool,
    },
    /// Cut off at the token limit, with nothing or half of an answer.
    Truncated {
        empty: bool,
    },
    /// A limit of this minute was hit.
    RateLimited {
        after_s: u32,
    },
    /// Too much load.
    Overloaded,
    /// The server broke.
    Broken,
    /// The connection ends in the middle of the answer.
    Cut,
    /// A proxy's page.
    NotJson,
    /// The account has no money or no quota for the day.
    QuotaGone,
    /// No such model any more.
    Retired,
    /// The request is too long.
    TooLong,
    /// A temperature where none is accepted.
    TemperatureRefused,
    /// The server broke, and quotes the request's headers.
    QuotesKey,
    /// It never answers.
    Nothing,
}

/// One request as a script sees it.
pub(crate) struct Asked<'a> {
    /// The text of the user's turn.
    pub(crate) prompt: &'a str,
    /// Earlier requests with this text.
    pub(crate) times: usize,
    /// Earlier requests of all.
    pub(crate) ordinal: usize,
}

type Script = Box<dyn Fn(&Asked<'_>) -> Says + Send + Sync>;

/// A server under way.
#[derive(Clone)]
pub(crate) struct Lab {
    pub(crate) base_url: String,
    /// Requests so far, those that were turned away included.
    pub(crate) arrived: watch::Receiver<usize>,
    /// How often each text was asked.
    pub(crate) asked: Times,
    /// How often a verdict was given for each text.
    pub(crate) verdicts: Times,
    /// Its batches.
    pub(crate) batches: Arc<Mutex<batches::Batches>>,
}

type Times = Arc<Mutex<BTreeMap<String, usize>>>;

struct Shared {
    api: Api,
    key: String,
    script: Script,
    asked: Times,
    verdicts: Times,
    arrived: watch::Sender<usize>,
    batches: Arc<Mutex<batches::Batches>>,
}

impl Lab {
    /// Starts a server that accepts only this key.
    pub(crate) async fn start(
        api: Api,
        key: &str,
        script: impl Fn(&Asked<'_>) -> Says + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            api,
            key: key.to_owned(),
            script: Box::new(script),
            asked: Times::default(),
            verdicts: Times::default(),
            arrived: watch::Sender::new(0),
            batches: Arc::default(),
        });
        let router =
            Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let version = if api == Api::Gemini { "v1beta" } else { "v1" };
        Self {
            base_url: format!("http://{address}/{version}"),
            arrived: shared.arrived.subscribe(),
            asked: shared.asked.clone(),
            verdicts: shared.verdicts.clone(),
            batches: shared.batches.clone(),
        }
    }

    /// Requests that came, those that were turned away included.
    pub(crate) fn requests(&self) -> usize {
        *self.arrived.borrow()
    }
}

async fn answer(
    State(lab): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    text: String,
) -> Response {
    let mut ordinal = 0;
    lab.arrived.send_modify(|count| {
        ordinal = *count;
        *count += 1;
    });
    if let Some(refused) = gate(&lab, &uri, &headers) {
        return refused;
    }
    if batches::is_about(&uri) {
        return batches::answer(&lab, &method, &uri, &text).await;
    }
    let body: Value = serde_json::from_str(&text).unwrap();
    let prompt = bodies::prompt_of(lab.api, &body);
    let times = count(&lab.asked, &prompt);
    let says = (lab.script)(&Asked { prompt: &prompt, times, ordinal });
    if let Says::Verdict(_) = says {
        count(&lab.verdicts, &prompt);
    }
    if says == Says::QuotesKey {
        let body = format!("{{\"error\":{{\"message\":\"while handling authorization {}\"}}}}", lab.key);
        return respond((500, vec![], body));
    }
    if says == Says::Nothing {
        std::future::pending::<()>().await;
    }
    if says == Says::Cut {
        return cut(&bodies::response(lab.api, Says::Verdict("1"), &body).2);
    }
    respond(bodies::response(lab.api, says, &body))
}

/// Counts one more; how many there were before.
fn count(times: &Times, prompt: &str) -> usize {
    let mut times = times.lock().unwrap();
    let times = times.entry(prompt.to_owned()).or_default();
    *times += 1;
    *times - 1
}

/// What the front door says: wrong paths and wrong keys go no further.
fn gate(lab: &Shared, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    let (path, header, prefix) = match lab.api {
        Api::Anthropic => ("/v1/messages", "x-api-key", ""),
        Api::Chat | Api::Compatible => ("/v1/chat/completions", "authorization", "Bearer "),
        Api::Responses => ("/v1/responses", "authorization", "Bearer "),
        Api::Gemini => (":generateContent", "x-goog-api-key", ""),
    };
    let told = headers.get(header).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let about_batches = batches::is_about(uri) && lab.api != Api::Compatible;
    let sound = (about_batches || uri.path().ends_with(path) && uri.query().is_none())
        && (lab.api != Api::Anthropic || headers.get("anthropic-version").is_some_and(|v| v == "2023-06-01"));
    if !sound {
        return Some(respond((404, vec![], String::from("{\"detail\":\"Not Found\"}"))));
    }
    let open = lab.key.is_empty() || told.strip_prefix(prefix) == Some(lab.key.as_str());
    (!open).then(|| respond(bodies::bad_key(lab.api, told)))
}

fn respond((status, headers, body): bodies::Raw) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response.headers_mut().entry("content-type").or_insert("application/json".parse().unwrap());
    response
}

/// Half of an answer, and then nothing.
fn cut(whole: &str) -> Response {
    let half = Bytes::from(whole[..whole.len() / 2].to_owned());
    let broken = std::io::Error::other("the connection was cut");
    let chunks: [Result<Bytes, std::io::Error>; 2] = [Ok(half), Err(broken)];
    let mut response = Response::new(Body::from_stream(stream::iter(chunks)));
    response.headers_mut().insert("content-length", whole.len().into());
    response
}
