//! A worker's stream to one process.

use assay_domain::event::WorkerInfo;
use assay_domain::{Assignment, DeviceKind, Lease, Rejection, WorkKind, WorkerId};
use assay_proto::v1::coordinator_message::Body as Told;
use assay_proto::v1::leases_client::LeasesClient;
use assay_proto::v1::worker_message::Body as Said;
use assay_proto::{PROTOCOL, convert, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::place::{Client, Gone};

pub(crate) struct Stream<'a> {
    client: &'a Client,
    sender: mpsc::Sender<v1::WorkerMessage>,
    receiver: Streaming<v1::CoordinatorMessage>,
    sequence: u64,
}

impl<'a> Stream<'a> {
    /// A stream that was welcomed, and which of `running` are not current any more.
    pub(crate) async fn open(
        client: &'a Client,
        id: &str,
        running: &[Lease],
    ) -> Result<(Stream<'a>, Vec<Lease>), Gone> {
        let (sender, messages) = mpsc::channel(16);
        let mut stream = {
            let hello = v1::Hello {
                protocol: PROTOCOL,
                worker_json: convert::to_json(&info(id)),
                running: running.iter().map(convert::lease_ref).collect(),
            };
            let hello = v1::WorkerMessage { sequence: 0, body: Some(Said::Hello(hello)) };
            sender.try_send(hello).unwrap();
            client.note();
            let work = LeasesClient::new(client.channel.clone()).work(ReceiverStream::new(messages)).await;
            let receiver = work.map_err(|status| client.gone(&status))?.into_inner();
            Stream { client, sender, receiver, sequence: 0 }
        };
        match stream.next().await? {
            Told::Welcome(welcome) => {
                let stale = welcome.stale.into_iter().map(|lease| convert::lease(Some(lease)).unwrap());
                Ok((stream, stale.collect()))
            }
            other => panic!("not a welcome: {other:?}"),
        }
    }

    async fn next(&mut self) -> Result<Told, Gone> {
        match self.receiver.message().await {
            Ok(Some(message)) => Ok(message.body.unwrap()),
            Ok(None) => Err(self.client.gone_for(&"the coordinator ended the stream")),
            Err(status) => Err(self.client.gone(&status)),
        }
    }

    pub(crate) async fn say(&mut self, body: Said) -> Result<(), Gone> {
        self.sequence += 1;
        self.client.note();
        let message = v1::WorkerMessage { sequence: self.sequence, body: Some(body) };
        // The stream's other half says how it ended.
        if self.sender.send(message).await.is_err() {
            let told = self.next().await?;
            panic!("the stream ended, but it said {told:?}");
        }
        Ok(())
    }

    pub(crate) async fn offered(&mut self) -> Result<Assignment, Gone> {
        match self.next().await? {
            Told::Offers(batch) => {
                assert_eq!(batch.assignments_json.len(), 1);
                Ok(convert::from_json("assignment", &batch.assignments_json[0]).unwrap())
            }
            other => panic!("not an offer: {other:?}"),
        }
    }

    /// The outcome of the one item of a batch.
    pub(crate) async fn answer(&mut self, body: Said) -> Result<Result<(), Rejection>, Gone> {
        self.say(body).await?;
        match self.next().await? {
            Told::Answers(batch) => {
                let answer = &batch.answers[0];
                assert_eq!((answer.sequence, answer.items.len()), (self.sequence, 1));
                Ok(convert::item_outcome(&answer.items[0]).unwrap())
            }
            other => panic!("not an answer: {other:?}"),
        }
    }
}

fn info(id: &str) -> WorkerInfo {
    WorkerInfo {
        id: WorkerId::new(id),
        host: String::from("test"),
        device: DeviceKind::Cpu,
        device_name: String::from("test"),
        memory_mib: 1024,
        kinds: WorkKind::ALL.to_vec(),
        version: String::from("0"),
        usd_per_hour: None,
    }
}
