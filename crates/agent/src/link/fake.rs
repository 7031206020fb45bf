//! A link whose other end is the test itself, for paused clocks.

use std::time::Duration;

use assay_domain::Rejection;
use assay_proto::client::Credentials;
use assay_proto::convert::item_answer;
use assay_proto::v1::{self, worker_message::Body};
use tokio::sync::{mpsc, watch};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;

use super::stream::CallHeaders;
use super::{Link, Word};

pub(crate) struct FakeCoordinator {
    words: mpsc::Receiver<Word>,
    _up: watch::Sender<Option<super::AuthorizedChannel>>,
}

impl FakeCoordinator {
    /// A link that is up.
    pub(crate) fn new(answer_limit: Duration) -> (Link, Self) {
        let credentials = Credentials::new("token").unwrap();
        let nowhere = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let channel = InterceptedService::new(nowhere, CallHeaders { credentials });
        let (up, channel) = watch::channel(Some(channel));
        let (words_to, words) = mpsc::channel(10);
        (Link { words: words_to, channel, answer_limit, back_off: (1, 1) }, Self { words, _up: up })
    }

    /// The next word, answered as `answer` says.
    pub(crate) async fn hear(&mut self, answer: Option<Result<(), Rejection>>) -> Body {
        let word = self.words.recv().await.unwrap();
        if let (Some(to), Some(outcome)) = (word.answer, answer) {
            let _ = to.send(Ok(answered(outcome, 0)));
        }
        word.body
    }

    /// The next word, accepted after a while.
    pub(crate) async fn hear_after(&mut self, pause: Duration) {
        let word = self.words.recv().await.unwrap();
        tokio::time::sleep(pause).await;
        let _ = word.answer.unwrap().send(Ok(answered(Ok(()), 0)));
    }

    /// The next word, accepted with another term.
    pub(crate) async fn hear_and_tell(&mut self, term: Duration) {
        let word = self.words.recv().await.unwrap();
        let _ = word.answer.unwrap().send(Ok(answered(Ok(()), term.as_millis() as u64)));
    }
}

fn answered(outcome: Result<(), Rejection>, lease_ms: u64) -> v1::Answer {
    v1::Answer { sequence: 1, items: vec![item_answer(outcome)], lease_ms }
}
