//! Ten thousand workers, in processes of their own: what each costs the coordinator in memory, and their heartbeats in time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use assay_domain::{Attempt, Epoch, Fence, JobId, Lease, MatrixId};
use assay_proto::client::Credentials;
use assay_proto::v1::leases_client::LeasesClient;
use assay_proto::v1::worker_message::Body as Said;
use assay_proto::{convert, v1};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::SILENT_MS;
use crate::process::Process;
use crate::worker::hello;

/// As the first argument: this process is workers.
pub(crate) const ROLE: &str = "workers";
const SIZES: [u32; 3] = [100, 1_000, 10_000];
/// Workers of one process: each has a socket.
const EACH: u32 = 5_000;
/// Sockets that a process may have.
const FILES: u32 = 20_000;
/// Connections that are made at once.
const TOGETHER: usize = 64;
/// Of a running lease, as agents renew it: three times in its 30 s.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Heartbeats are watched for so long.
const WATCHED: Duration = Duration::from_secs(20);

pub(crate) async fn measure() -> Value {
    let mut sizes = Vec::new();
    for count in SIZES {
        let process = Process::start(SILENT_MS, Some(FILES));
        process.world.fleet().list_workers(v1::ListWorkersRequest::default()).await.unwrap();
        let before = process.memory_kib();
        let starts = (0..count).step_by(EACH as usize);
        let children: Vec<Workers> = starts
            .enumerate()
            .map(|(number, start)| Workers::start(&process, number, EACH.min(count - start)))
            .collect();
        let kib = (process.memory_kib() - before) as f64 / f64::from(count);
        let cpu = process.cpu();
        tokio::time::sleep(WATCHED).await;
        let busy = (process.cpu() - cpu).as_secs_f64() / WATCHED.as_secs_f64();
        sizes.push(json!({ "workers": count, "kib_per_worker": kib, "heartbeats_core_share": busy }));
        drop(children);
    }
    json!({ "heartbeat_s": HEARTBEAT.as_secs(), "sizes": sizes })
}

/// A process of workers that are connected.
struct Workers(Child);

impl Workers {
    fn start(process: &Process, number: usize, count: u32) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {FILES}; exec \"$0\" \"$@\"")]);
        command.arg(std::env::current_exe().unwrap()).args([ROLE, &process.world.url()]);
        command.args([process.world.token(), format!("{number}/{count}")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "connected\n", "the workers ended");
        Self(child)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let _gone_is_fine = self.0.kill();
        let _gone_is_fine = self.0.wait();
    }
}

/// Connects `NUMBER/COUNT` workers, says so, and renews a lease for each until the process is ended.
pub(crate) async fn workers(address: &str, token: &str, which: &str) {
    let (number, count) = which.split_once('/').unwrap();
    let count: usize = count.parse().unwrap();
    let connections = (0..count).map(|place| connect(address, token, format!("w-{number}-{place}")));
    let senders: Vec<_> = futures::stream::iter(connections).buffer_unordered(TOGETHER).collect().await;
    println!("connected");
    std::io::stdout().flush().unwrap();
    let mut ticks = tokio::time::interval(HEARTBEAT / count as u32);
    for sequence in 1.. {
        for sender in &senders {
            ticks.tick().await;
            sender.send(heartbeat(sequence)).await.unwrap();
        }
    }
}

async fn connect(address: &str, token: &str, id: String) -> mpsc::Sender<v1::WorkerMessage> {
    let channel = Credentials::new(token).unwrap().channel(address).unwrap();
    let (sender, messages) = mpsc::channel(4);
    sender.send(v1::WorkerMessage { sequence: 0, body: Some(Said::Hello(hello(&id, &[]))) }).await.unwrap();
    let answers = LeasesClient::new(channel).work(ReceiverStream::new(messages)).await.unwrap();
    let mut answers = answers.into_inner();
    answers.message().await.unwrap().unwrap();
    tokio::spawn(async move { while let Ok(Some(_)) = answers.message().await {} });
    sender
}

/// One lease, which is looked up and answered like any other.
fn heartbeat(sequence: u64) -> v1::WorkerMessage {
    let job = JobId { matrix: MatrixId::new("m-bench"), ordinal: 0 };
    let lease = Lease { job, fence: Fence { epoch: Epoch(1), attempt: Attempt(1) } };
    let renewal = v1::Renewal { lease: Some(convert::lease_ref(&lease)), progress_json: String::new() };
    let body = Said::Renew(v1::RenewBatch { renewals: vec![renewal] });
    v1::WorkerMessage { sequence, body: Some(body) }
}
