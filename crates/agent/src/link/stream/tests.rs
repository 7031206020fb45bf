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
