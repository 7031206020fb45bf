//! What is true when the agent hears of a new stream.

use assay_domain::event::WorkerInfo;
use assay_domain::{DeviceKind, WorkerId};
use futures::FutureExt as _;

use super::*;
use crate::config::Token;

#[tokio::test]
async fn the_link_is_up_before_anyone_hears_of_the_welcome() {
    let worker = WorkerInfo {
        id: WorkerId::new("w"),
        host: String::new(),
        device: DeviceKind::None,
        device_name: String::new(),
        memory_mib: 0,
        kinds: Vec::new(),
        version: String::new(),
        usd_per_hour: None,
    };
    let place = Coordinator::At { url: String::from("http://127.0.0.1:1"), token: Token::new("token") };
    let config = Arc::new(AgentConfig::new(place, worker, "unused"));
    let ((_words, spoken), (_running, running)) = (mpsc::channel(1), watch::channel(Vec::new()));
    let ((events, mut heard), (up, channel)) = (mpsc::channel(1), watch::channel(None));
    // The queue is full: the welcome itself cannot be heard yet.
    events.send(Event::Refused(String::from("something earlier"))).await.unwrap();
    let closing = CancellationToken::new();
    let keeper = Keeper { config, running, spoken, events, up, closing };

    let nowhere = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    let credentials = Credentials::new("token").unwrap();
    let welcomed = InterceptedService::new(nowhere, CallHeaders { credentials });
    let mut greeting = Box::pin(keeper.greet(v1::Welcome::default(), welcomed));
    assert!(greeting.as_mut().now_or_never().is_none());
    assert!(channel.borrow().is_some());
    heard.recv().await.unwrap();
    greeting.await.unwrap();
    assert!(matches!(heard.recv().await, Some(Event::Welcomed(_))));
}

#[tokio::test]
async fn the_word_after_the_last_answer_is_refused_even_if_who_said_it_gave_up() {
    let (words, _outbound) = mpsc::channel(10);
    let mut asked = Asked::default();
    let say = |asked: &mut Asked| {
        let (answer, answered) = oneshot::channel();
        let body = worker_message::Body::Ready(v1::Ready::default());
        asked.say(words.try_reserve().unwrap(), Word { body, answer: Some(answer) });
        answered
    };
    let mut said = [say(&mut asked), say(&mut asked), say(&mut asked)];
    asked.answered(v1::Answer { sequence: 1, ..v1::Answer::default() });
    assert!(matches!(said[0].try_recv(), Ok(Ok(_))));
    said[1].close();
    let mut last = say(&mut asked);
    asked.unreadable(String::from("the second"));
    assert!(said[2].try_recv().is_err() && last.try_recv().is_err(), "an innocent word is refused");
    asked.answered(v1::Answer { sequence: 3, ..v1::Answer::default() });
    asked.unreadable(String::from("the fourth"));
    assert_eq!(last.try_recv().unwrap().unwrap_err(), "the fourth");
}
