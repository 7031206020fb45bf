//! The audit: who did what to what, before and after restarts, filtered and followed.

use assay_proto::v1;
use assay_proto::v1::events_client::EventsClient;
use tonic::Streaming;

use super::worker::Worker;
use super::world::{PATIENCE, World};

async fn open(world: &World, request: v1::ReadEventsRequest) -> Streaming<v1::ReadEventsResponse> {
    EventsClient::new(world.channel()).read(request).await.unwrap().into_inner()
}

pub(crate) async fn all(world: &World, request: v1::ReadEventsRequest) -> Vec<v1::ReadEventsResponse> {
    let mut stream = open(world, request).await;
    let mut found = Vec::new();
    while let Some(event) = stream.message().await.unwrap() {
        found.push(event);
    }
    found
}

async fn next(stream: &mut Streaming<v1::ReadEventsResponse>) -> v1::ReadEventsResponse {
    tokio::time::timeout(PATIENCE, stream.message()).await.expect("an event in time").unwrap().unwrap()
}

fn kinds(events: &[v1::ReadEventsResponse]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_did_what_is_told_filtered_and_survives_a_restart() {
    let mut world = World::new().await;
    let matrix = world.submit("mine", 1).await.matrix_id;
    let lease = {
        let mut worker = Worker::connect(&world, "w-1", &[]).await;
        let train = worker.offer().await;
        worker.perform(&train).await;
        train.lease
    };
    world.pass(60_000).await;
    world.matrices().cancel(v1::CancelRequest { matrix_id: matrix.clone() }).await.unwrap();
    let told = all(&world, v1::ReadEventsRequest::default()).await;
    assert!(told.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    assert_eq!(kinds(&told)[..3], ["epoch_raised", "matrix_submitted", "worker_registered"]);
    let submitted = &told[1];
    assert_eq!((submitted.who.as_str(), &submitted.matrix_id), ("person", &matrix));
    assert!(submitted.what.contains("submit key mine"), "{submitted:?}");
    let succeeded = told.iter().find(|event| event.kind == "job_succeeded").unwrap();
    assert_eq!((succeeded.who.as_str(), &succeeded.job_id), ("w-1", &lease.job.to_string()));
    assert_eq!(succeeded.fence, lease.fence.to_string());
    let cancelled = told.iter().find(|event| event.kind == "matrix_cancelled").unwrap();
    assert_eq!(cancelled.who, "person");

    world.restart().await;
    assert_eq!(all(&world, v1::ReadEventsRequest::default()).await, told);
    let of = |request| all(&world, request);
    let request = v1::ReadEventsRequest::default();
    let of_job = of(v1::ReadEventsRequest { job_id: lease.job.to_string(), ..request.clone() }).await;
    assert_eq!(kinds(&of_job), ["job_leased", "checkpointed", "checkpointed", "job_succeeded"]);
    let of_worker = of(v1::ReadEventsRequest { worker_id: "w-1".into(), ..request.clone() }).await;
    assert_eq!(kinds(&of_worker)[..2], ["worker_registered", "job_leased"]);
    let of_kind = of(v1::ReadEventsRequest { kind: "matrix_submitted".into(), ..request.clone() }).await;
    assert_eq!(of_kind.len(), 1);
    let newest = of(v1::ReadEventsRequest { limit: 2, ..request.clone() }).await;
    assert_eq!(newest, told[told.len() - 2..]);
    let late =
        of(v1::ReadEventsRequest { since_ms: 1_000, kind: "matrix_cancelled".into(), ..request.clone() })
            .await;
    assert_eq!(late, std::slice::from_ref(cancelled));
    let early =
        of(v1::ReadEventsRequest { since_ms: 1_000, kind: "job_leased".into(), ..request.clone() }).await;
    assert!(early.is_empty(), "{early:?}");
    let mut client = EventsClient::new(world.channel());
    let refused = client.read(v1::ReadEventsRequest { kind: "job".into(), ..request });
    assert!(refused.await.unwrap_err().message().contains("take one of epoch_raised"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_hears_each_new_event_once() {
    let world = World::new().await;
    let mut stream =
        open(&world, v1::ReadEventsRequest { follow: true, ..v1::ReadEventsRequest::default() }).await;
    assert_eq!(next(&mut stream).await.kind, "epoch_raised");
    for round in 0..5_u64 {
        let matrix = world.submit(&format!("k{round}"), round).await.matrix_id;
        let told = next(&mut stream).await;
        assert_eq!((told.kind.as_str(), told.matrix_id), ("matrix_submitted", matrix));
    }
}
