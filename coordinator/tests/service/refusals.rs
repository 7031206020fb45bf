//! What is refused, and that it is refused with its reason.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use assay_coordinator::config::Config;
use assay_coordinator::server::Server;
use assay_proto::client::Credentials;
use assay_proto::v1;
use assay_proto::v1::worker_message::Body as Said;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use super::matrix::resolved;
use super::worker::{Worker, hello};
use super::world::{ManualClock, World, probe};

type Plain = tonic::transport::Channel;

async fn every_rpc(world: &World, token: Option<&str>) -> Vec<Result<(), Status>> {
    let plain = Plain::from_shared(world.url()).unwrap().connect().await.unwrap();
    let add = |mut request: tonic::Request<()>| {
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        Ok(request)
    };
    let mut matrices = v1::matrices_client::MatricesClient::with_interceptor(plain.clone(), add);
    let mut leases = v1::leases_client::LeasesClient::with_interceptor(plain.clone(), add);
    let mut artifacts = v1::artifacts_client::ArtifactsClient::with_interceptor(plain.clone(), add);
    let mut fleet = v1::fleet_client::FleetClient::with_interceptor(plain.clone(), add);
    let mut health = HealthClient::with_interceptor(plain.clone(), add);
    let mut reflection = ServerReflectionClient::with_interceptor(plain, add);
    let reflect = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let said = v1::WorkerMessage { sequence: 0, body: Some(Said::Hello(hello("w", &[]))) };
    vec![
        matrices.submit(v1::SubmitRequest::default()).await.map(drop),
        matrices.get(v1::GetMatrixRequest::default()).await.map(drop),
        matrices.list(v1::ListMatricesRequest::default()).await.map(drop),
        matrices.watch(v1::WatchRequest::default()).await.map(drop),
        matrices.cancel(v1::CancelRequest::default()).await.map(drop),
        matrices.logs(v1::LogsRequest::default()).await.map(drop),
        leases.work(tokio_stream::once(said)).await.map(drop),
        artifacts.sign_upload(v1::SignUploadRequest::default()).await.map(drop),
        artifacts.sign_download(v1::SignDownloadRequest::default()).await.map(drop),
        fleet.list_workers(v1::ListWorkersRequest {}).await.map(drop),
        health.check(HealthCheckRequest::default()).await.map(drop),
        reflection.server_reflection_info(tokio_stream::once(reflect)).await.map(drop),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_needs_the_token_health_and_reflection_included() {
    let world = World::new().await;
    let token = world.token().trim().to_owned();
    for wrong in [None, Some(""), Some("nonsense"), Some(&token[1..]), Some(&token.to_uppercase())] {
        for (place, outcome) in every_rpc(&world, wrong).await.into_iter().enumerate() {
            let status = outcome.expect_err("refused");
            assert_eq!(status.code(), Code::Unauthenticated, "{place} {wrong:?}");
            assert!(status.message().contains("token") && !status.message().contains(&token));
        }
    }
    let outcomes = every_rpc(&world, Some(&token)).await;
    assert!(outcomes.iter().all(|o| o.as_ref().err().map(Status::code) != Some(Code::Unauthenticated)));
    assert!(outcomes[10].is_ok() && outcomes[11].is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_submissions_change_nothing() {
    let world = World::new().await;
    let submit = async |key: &str, json: String| {
        let request = v1::SubmitRequest { submit_key: key.into(), resolved_json: json, fresh: false };
        world.matrices().submit(request).await.unwrap_err()
    };
    let good = resolved(1).to_string();
    let not_there = submit("k", good.clone()).await;
    assert_eq!(not_there.code(), Code::FailedPrecondition);
    assert!(not_there.message().contains("not uploaded") && not_there.message().contains("model.bin"));
    world.upload_matrix().await;
    let mut bad = resolved(1);
    bad["matrix"]["recipes"][0]["warmup_steps"] = 100.into();
    let mut nan = resolved(1);
    nan["models"]["tiny"]["layers"] = (-1).into();
    for (key, json, code, words) in [
        ("", good.clone(), Code::InvalidArgument, "submit_key is needed"),
        (
            &"k".repeat(200),
            good.clone(),
            Code::InvalidArgument,
            "submit_key has 200 bytes, over the limit of 128",
        ),
        ("k", String::from("{"), Code::InvalidArgument, "`resolved_json` does not hold"),
        ("k", String::from("{}"), Code::InvalidArgument, "missing field `matrix`"),
        ("k", nan.to_string(), Code::InvalidArgument, "invalid value"),
        ("k", bad.to_string(), Code::InvalidArgument, "warmup_steps is 100"),
        (
            "k",
            " ".repeat(5 << 20),
            Code::InvalidArgument,
            "resolved_json has 5242880 bytes, over the limit of 4194304",
        ),
        ("k", " ".repeat(17 << 20), Code::OutOfRange, "decoded message length too large"),
    ] {
        let status = submit(key, json).await;
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
    let list = world.matrices().list(v1::ListMatricesRequest::default()).await.unwrap().into_inner();
    assert!(list.matrices.is_empty());
}

async fn stream_end(world: &World, messages: Vec<Said>) -> Status {
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    for body in messages {
        sender.send(v1::WorkerMessage { sequence: 1, body: Some(body) }).await.unwrap();
    }
    let mut stream = world.leases().work(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a reason"),
            Err(status) => return status,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_reason_for_what_it_does_not_understand() {
    let world = World::new().await;
    let good = || Said::Hello(hello("w", &[]));
    // One that is older, and one that is newer.
    for protocol in [0, 7] {
        let other = v1::Hello { protocol, ..hello("w", &[]) };
        let status = stream_end(&world, vec![Said::Hello(other)]).await;
        assert_eq!(status.code(), Code::FailedPrecondition);
        let both = format!("speaks protocol {protocol}, this coordinator 1");
        assert!(status.message().contains(&both), "{status}");
    }

    let lease = v1::LeaseRef { job_id: "m-1/0".into(), epoch: 1, attempt: 1 };
    let long = v1::Renewal { lease: Some(lease.clone()), progress_json: "x".repeat(20_000) };
    let no_lease = v1::FailedItem { class: "crashed".into(), ..v1::FailedItem::default() };
    let no_class = v1::FailedItem { lease: Some(lease), class: "tired".into(), ..Default::default() };
    let bad_info = v1::Hello { worker_json: "{}".into(), ..hello("w", &[]) };
    for (messages, words) in [
        (
            vec![Said::Ready(v1::Ready { slots: 1, ..Default::default() })],
            "the first message of a stream is `hello`",
        ),
        (vec![Said::Hello(bad_info)], "`worker_json` does not hold"),
        (vec![good(), good()], "`hello` comes once"),
        (vec![good(), Said::Renew(v1::RenewBatch { renewals: vec![long] })], "over the limit of 16384 bytes"),
        (vec![good(), Said::Failed(v1::FailedBatch { items: vec![no_lease] })], "`lease` is missing"),
        (vec![good(), Said::Failed(v1::FailedBatch { items: vec![no_class] })], "unknown variant `tired`"),
        (
            vec![good(), Said::Renew(v1::RenewBatch { renewals: vec![v1::Renewal::default(); 2000] })],
            "2000, over the limit of 1024 items",
        ),
    ] {
        let status = stream_end(&world, messages).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_stream_of_the_same_worker_ends_the_older() {
    let world = World::new().await;
    let mut older = Worker::connect(&world, "w", &[]).await;
    let mut newer = Worker::connect(&world, "w", &[]).await;
    let status = older.next().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    world.submit("k", 1).await;
    newer.offer().await;
}

async fn start(config: Config) -> Result<Server, String> {
    let clock = Arc::new(ManualClock::default());
    Server::start(config, clock, probe()).await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_starts_only_where_it_is_safe() {
    let mut world = World::new().await;
    let config = || Config::new(world.folder.path().join("data"));
    let open = Config { listen: "0.0.0.0:0".parse().unwrap(), ..config() };
    let refused = start(open).await.unwrap_err();
    assert!(refused.contains("0.0.0.0:0 is not a loopback address") && refused.contains("TLS"), "{refused}");
    let second = start(config()).await.unwrap_err();
    assert!(second.contains("in use by another process"), "{second}");
    let taken = Config { listen: world.server().address(), ..Config::new(world.folder.path().join("other")) };
    assert!(start(taken).await.unwrap_err().contains("--listen 127.0.0.1:0"));

    let token = world.server().token_path().to_path_buf();
    let announced = world.folder.path().join("data/coordinator.json");
    let text: serde_json::Value = serde_json::from_slice(&std::fs::read(&announced).unwrap()).unwrap();
    assert_eq!(text["address"], world.server().address().to_string());
    assert_eq!(text["epoch"], 1);
    assert_eq!(std::fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
    let config = config();
    world.stop().await;
    assert!(!announced.exists());
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = start(config).await.unwrap_err();
    assert!(refused.contains("mode 640"), "{refused}");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    world.start().await;
    Credentials::new(&world.token()).unwrap();
}
