//! The link to the coordinator: words go out in order, answers find who asked, and a lost stream is made again.

use std::sync::Arc;
use std::time::Duration;

use assay_artifacts::BackOff;
use assay_domain::Rejection;
use assay_proto::convert::item_outcome;
use assay_proto::v1::{self, coordinator_message, worker_message::Body};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::AgentConfig;
pub(crate) use stream::AuthorizedChannel;

#[cfg(test)]
pub(crate) mod fake;
mod stream;

/// What the agent hears.
pub(crate) enum Event {
    /// A stream is up; what runs here has been named on it.
    Welcomed(v1::Welcome),
    /// The coordinator said something that is no answer.
    Said(coordinator_message::Body),
    /// It will never talk to this agent.
    Refused(String),
}

/// Why the coordinator did not take what was said. Saying it again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It decided against it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It cannot read it, and ended the stream for that.
    #[error("the coordinator cannot take it: {0}")]
    Unreadable(String),
}

/// One thing to say.
pub(crate) struct Word {
    body: Body,
    answer: Option<oneshot::Sender<Answered>>,
}

/// What became of a word: its answer, or why the stream ended at it.
pub(crate) type Answered = Result<v1::Answer, String>;

/// Speaks to the coordinator. Clones are the same link.
#[derive(Clone)]
pub(crate) struct Link {
    words: mpsc::Sender<Word>,
    channel: watch::Receiver<Option<AuthorizedChannel>>,
    answer_limit: Duration,
    back_off: (u64, u64),
}

/// The task behind the links.
pub(crate) struct Connection {
    task: JoinHandle<()>,
    closing: CancellationToken,
}

/// Connects in the background; `running` is what each new stream is told still runs here.
pub(crate) fn connect(
    config: Arc<AgentConfig>,
    running: watch::Receiver<Vec<v1::LeaseRef>>,
) -> (Link, Connection, mpsc::Receiver<Event>) {
    let limits = config.limits;
    let (words, spoken) = mpsc::channel(limits.outbound_queue_max);
    let (events, heard) = mpsc::channel(limits.outbound_queue_max);
    let (up, channel) = watch::channel(None);
    let closing = CancellationToken::new();
    let keeper = stream::Keeper { config, running, spoken, events, up, closing: closing.clone() };
    let task = tokio::spawn(keeper.keep_connected());
    let link = Link {
        words,
        channel,
        answer_limit: Duration::from_millis(limits.answer_ms),
        back_off: (limits.back_off_first_ms, limits.back_off_longest_ms),
    };
    (link, Connection { task, closing }, heard)
}

impl Connection {
    /// Says what is queued, ends the stream and waits for that, `limit` at most.
    pub(crate) async fn close(mut self, limit: Duration) {
        self.closing.cancel();
        if tokio::time::timeout(limit, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Link {
    /// Says one item and waits for its answer, with the lease's new term where it tells one; none when the stream broke or the answer
    /// did not come in time.
    pub(crate) async fn ask(&self, body: Body) -> Option<Result<Option<Duration>, Refusal>> {
        if self.channel.borrow().is_none() {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.words.send(Word { body, answer: Some(answer) }).await.ok()?;
            answered.await.ok()
        };
        let answer = match tokio::time::timeout(self.answer_limit, asked).await.ok()?? {
            Ok(answer) => answer,
            Err(why) => return Some(Err(Refusal::Unreadable(why))),
        };
        match item_outcome(answer.items.first()?) {
            Ok(outcome) => {
                let term = (answer.lease_ms > 0).then(|| Duration::from_millis(answer.lease_ms));
                Some(outcome.map(|()| term).map_err(Refusal::from))
            }
            Err(error) => {
                tracing::warn!(%error, "an answer of the coordinator cannot be understood");
                None
            }
        }
    }

    /// Says one item until it is heard, over as many streams as it takes.
    pub(crate) async fn until_heard(&self, body: Body) -> Result<(), Refusal> {
        let mut back_off = BackOff::new(self.back_off.0, self.back_off.1);
        loop {
            self.up().await;
            if let Some(outcome) = self.ask(body.clone()).await {
                return outcome.map(drop);
            }
            tokio::time::sleep(back_off.pause()).await;
        }
    }

    /// Says something that needs no answer; the words come back when no stream is up.
    pub(crate) async fn tell(&self, body: Body) -> Result<(), Body> {
        if self.channel.borrow().is_none() {
            return Err(body);
        }
        self.words.send(Word { body, answer: None }).await.map_err(|unsent| unsent.0.body)
    }

    /// The channel for calls, once a stream is up.
    pub(crate) async fn up(&self) -> AuthorizedChannel {
        let mut channel = self.channel.clone();
        match channel.wait_for(Option::is_some).await.map(|channel| channel.clone()) {
            Ok(Some(channel)) => channel,
            // The connection was closed for good: whoever still waits is about to be dropped.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Waits for a stream, and a moment even if one is up: what failed on it just now should not be tried in a tight circle.
    pub(crate) async fn up_again(&self) {
        tokio::time::sleep(BackOff::new(self.back_off.0, self.back_off.1).pause()).await;
        self.up().await;
    }
}
