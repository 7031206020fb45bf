//! One stream after the other: connect, hello, welcome, then words out and messages in until it breaks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use assay_artifacts::BackOff;
use assay_domain::chain;
use assay_proto::PROTOCOL;
use assay_proto::client::Credentials;
use assay_proto::convert::to_json;
use assay_proto::v1::leases_client::LeasesClient;
use assay_proto::v1::{self, CoordinatorMessage, WorkerMessage, coordinator_message, worker_message};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use super::{Answered, Event, Word};
use crate::config::{AgentConfig, Coordinator};

/// A channel whose calls carry the token and the current span.
pub(crate) type AuthorizedChannel = InterceptedService<Channel, CallHeaders>;

/// Adds the token and the current span to each call.
#[derive(Clone)]
pub(crate) struct CallHeaders {
    pub(super) credentials: Credentials,
}

impl Interceptor for CallHeaders {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let mut request = self.credentials.call(request)?;
        assay_telemetry::propagate::inject(request.metadata_mut());
        Ok(request)
    }
}

pub(super) struct Keeper {
    pub(super) config: Arc<AgentConfig>,
    pub(super) running: watch::Receiver<Vec<v1::LeaseRef>>,
    pub(super) spoken: mpsc::Receiver<Word>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) up: watch::Sender<Option<AuthorizedChannel>>,
    pub(super) closing: CancellationToken,
}

/// How a stream ended.
enum End {
    Closed,
    Lost(String),
    Refused(String),
}

/// A stream that was welcomed.
struct Stream {
    words: mpsc::Sender<WorkerMessage>,
    messages: Streaming<CoordinatorMessage>,
    channel: AuthorizedChannel,
    welcome: v1::Welcome,
}

impl Keeper {
    pub(super) async fn keep_connected(mut self) {
        let limits = self.config.limits;
        let mut back_off = BackOff::new(limits.back_off_first_ms, limits.back_off_longest_ms);
        loop {
            let closing = self.closing.clone();
            let opened = closing.run_until_cancelled(self.open()).await;
            let end = match opened {
                None => return,
                Some(Ok(stream)) => {
                    back_off.reset();
                    self.speak(stream).await
                }
                Some(Err(end)) => end,
            };
            self.up.send_replace(None);
            match end {
                End::Closed => return,
                End::Refused(why) => {
                    // The agent is gone when nobody hears this.
                    let _ = self.events.send(Event::Refused(why)).await;
                    return;
                }
                End::Lost(why) => tracing::debug!(why, "no stream to the coordinator"),
            }
            if closing.run_until_cancelled(tokio::time::sleep(back_off.pause())).await.is_none() {
                return;
            }
        }
    }

    async fn open(&self) -> Result<Stream, End> {
        let limit = Duration::from_millis(self.config.limits.connect_ms);
        let late = |_| End::Lost(format!("no welcome within {} ms", limit.as_millis()));
        timeout(limit, self.open_slowly()).await.map_err(late)?
    }

    async fn open_slowly(&self) -> Result<Stream, End> {
        let channel = self.channel().await?;
        let (words, outbound) = mpsc::channel(self.config.limits.outbound_queue_max);
        let hello = worker_message::Body::Hello(v1::Hello {
            protocol: PROTOCOL,
            worker_json: to_json(&self.config.worker),
            running: self.running.borrow().clone(),
        });
        words.try_send(message(0, hello)).map_err(|error| End::Lost(error.to_string()))?;
        let mut client = LeasesClient::new(channel.clone())
            .max_decoding_message_size(self.config.limits.message_bytes_max);
        let answered = client.work(ReceiverStream::new(outbound)).await;
        let mut messages = answered.map_err(|status| self.refusal(&status))?.into_inner();
        let first = messages.message().await.map_err(|status| self.refusal(&status))?;
        match first.and_then(|message| message.body) {
            Some(coordinator_message::Body::Welcome(welcome)) if welcome.protocol == PROTOCOL => {
                Ok(Stream { words, messages, channel, welcome })
            }
            Some(coordinator_message::Body::Welcome(welcome)) => Err(End::Refused(format!(
                "it speaks protocol {}, this worker {PROTOCOL}: use builds of one version",
                welcome.protocol
            ))),
            _ => Err(End::Lost(String::from("the first message was no welcome"))),
        }
    }

    async fn channel(&self) -> Result<AuthorizedChannel, End> {
        let limits = self.config.limits;
        let (url, token) = self.config.coordinator.look_up().map_err(|error| End::Lost(error.to_string()))?;
        let credentials = Credentials::new(&token).map_err(|error| End::Refused(error.to_string()))?;
        let endpoint = Endpoint::from_shared(url.clone())
            .map_err(|error| End::Refused(format!("`{url}` is no address: {error}")))?
            .connect_timeout(Duration::from_millis(limits.connect_ms))
            .http2_keep_alive_interval(Duration::from_millis(limits.keep_alive_ms))
            .keep_alive_timeout(Duration::from_millis(limits.keep_alive_wait_ms))
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let channel = endpoint.connect().await.map_err(|error| End::Lost(chain(&error)))?;
        Ok(InterceptedService::new(channel, CallHeaders { credentials }))
    }

    /// Whether trying again can help.
    fn refusal(&self, status: &Status) -> End {
        let why = format!("{}: {}", status.code(), status.message());
        // A token that is read anew from the data folder may be right the next time.
        let token_is_fixed = matches!(self.config.coordinator, Coordinator::At { .. });
        let never_ours = matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied);
        let never =
            matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument | Code::Unimplemented);
        if never || (never_ours && token_is_fixed) { End::Refused(why) } else { End::Lost(why) }
    }

    /// Words out, messages in, until the stream breaks.
    async fn speak(&mut self, stream: Stream) -> End {
        let Stream { words, mut messages, channel, welcome } = stream;
        if self.greet(welcome, channel).await.is_err() {
            return End::Closed;
        }
        let mut asked = Asked::default();
        loop {
            tokio::select! {
                // Answers first: who waits for one should not time out behind new words.
                biased;
                message = messages.message() => match message {
                    Ok(Some(message)) => {
                        if self.hear(message, &mut asked).await.is_err() {
                            return End::Closed;
                        }
                    }
                    Ok(None) => return End::Lost(String::from("the coordinator ended the stream")),
                    Err(status) => {
                        let why = format!("{}: {}", status.code(), status.message());
                        if matches!(status.code(), Code::InvalidArgument | Code::OutOfRange) {
                            asked.unreadable(why.clone());
                        }
                        return End::Lost(why);
                    }
                },
                // A place in the stream first, then the word for it: the coordinator is heard even while it takes nothing.
                word = next_word(&words, &mut self.spoken) => match word {
                    Some((place, word)) => asked.say(place, word),
                    None => return End::Lost(String::from("the stream takes no more words")),
                },
                () = self.closing.cancelled() => break,
            }
        }
        // What is queued still goes out: the stream ends when the coordinator has read our end of it.
        drop(words);
        while let Ok(Some(_)) = messages.message().await {}
        End::Closed
    }

    /// The link is up before anyone hears of the welcome: who then says at once that it is ready must not find it down, or
    /// nothing would ever be offered on this stream.
    async fn greet(&self, welcome: v1::Welcome, channel: AuthorizedChannel) -> Result<(), ()> {
        self.up.send_replace(Some(channel));
        self.events.send(Event::Welcomed(welcome)).await.map_err(|_| ())
    }

    async fn hear(&self, message: CoordinatorMessage, asked: &mut Asked) -> Result<(), ()> {
        match message.body {
            Some(coordinator_message::Body::Answers(batch)) => {
                for answer in batch.answers {
                    asked.answered(answer);
                }
                Ok(())
            }
            Some(body) => self.events.send(Event::Said(body)).await.map_err(|_| ()),
            None => Ok(()),
        }
    }
}

async fn next_word<'a>(
    words: &'a mpsc::Sender<WorkerMessage>,
    spoken: &mut mpsc::Receiver<Word>,
) -> Option<(mpsc::Permit<'a, WorkerMessage>, Word)> {
    let place = words.reserve().await.ok()?;
    let word = spoken.recv().await?;
    Some((place, word))
}

/// Who waits for which answer on this stream. Dropped with it, which tells them.
#[derive(Default)]
struct Asked {
    last: u64,
    last_answered: u64,
    waiting: HashMap<u64, oneshot::Sender<Answered>>,
}

impl Asked {
    fn say(&mut self, place: mpsc::Permit<'_, WorkerMessage>, word: Word) {
        let Some(answer) = word.answer else {
            place.send(message(0, word.body));
            return;
        };
        // Whoever asked gave up while the word was waiting: it has been, or will be, said again.
        if answer.is_closed() {
            return;
        }
        self.waiting.retain(|_, waiting| !waiting.is_closed());
        self.last += 1;
        self.waiting.insert(self.last, answer);
        place.send(message(self.last, word.body));
    }

    fn answered(&mut self, answer: v1::Answer) {
        self.last_answered = answer.sequence;
        if let Some(waiting) = self.waiting.remove(&answer.sequence) {
            // An error means that whoever asked gave up.
            let _ = waiting.send(Ok(answer));
        }
    }

    /// The coordinator ended the stream over a word that it will never take. It reads and answers in order: that word is the
    /// one after the last answer. Whoever said it must not say it again; the others will, on the next stream.
    fn unreadable(&mut self, why: String) {
        if let Some(waiting) = self.waiting.remove(&(self.last_answered + 1)) {
            let _ = waiting.send(Err(why));
        }
    }
}

fn message(sequence: u64, body: worker_message::Body) -> WorkerMessage {
    WorkerMessage { sequence, body: Some(body) }
}

#[cfg(test)]
mod tests;
