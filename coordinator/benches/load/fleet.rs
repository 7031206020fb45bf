//! Ten thousand workers, in processes of their own: what each costs the coordinator in memory, and their heartbeats in time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use assay_domain::job::RENEWALS_PER_LEASE;
use assay_domain::{Attempt, Epoch, Fence, JobId, Lease, MatrixId};
use assay_proto::client::Credentials;
use assay_proto::v1::coordinator_message::Body as Told;
use assay_proto::v1::leases_client::LeasesClient;
use assay_proto::v1::worker_message::Body as Said;
use assay_proto::{convert, v1};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;

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
/// A silent connection is probed after this, as agents do.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Heartbeats are watched for so long.
const WATCHED: Duration = Duration::from_secs(20);
/// A lease's term, in milliseconds, as the coordinator told it last to any worker of this process.
static TERM_MS: AtomicU64 = AtomicU64::new(0);

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
    json!({ "renewals_per_term": RENEWALS_PER_LEASE, "sizes": sizes })
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

/// Connects `NUMBER/COUNT` workers, says so, and renews a lease for each, as often as agents do, until the process is ended.
pub(crate) async fn workers(address: &str, token: &str, which: &str) {
    let (number, count) = which.split_once('/').unwrap();
    let count: usize = count.parse().unwrap();
    let connections = (0..count).map(|place| connect(address, token, format!("w-{number}-{place}")));
    let senders: Vec<_> = futures::stream::iter(connections).buffer_unordered(TOGETHER).collect().await;
    println!("connected");
    std::io::stdout().flush().unwrap();
    let mut due = Instant::now();
    for sequence in 1.. {
        for sender in &senders {
            let term = Duration::from_millis(TERM_MS.load(Ordering::Relaxed));
            due += term / RENEWALS_PER_LEASE / count as u32;
            sleep_until(due).await;
            sender.send(heartbeat(sequence)).await.unwrap();
        }
    }
}

async fn connect(address: &str, token: &str, id: String) -> mpsc::Sender<v1::WorkerMessage> {
    let endpoint = Endpoint::from_shared(address.to_owned()).unwrap().tcp_nodelay(true);
    let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE).keep_alive_while_idle(true);
    let channel =
        InterceptedService::new(endpoint.connect().await.unwrap(), Credentials::new(token).unwrap());
    let (sender, messages) = mpsc::channel(4);
    sender.send(v1::WorkerMessage { sequence: 0, body: Some(Said::Hello(hello(&id, &[]))) }).await.unwrap();
    let answers = LeasesClient::new(channel).work(ReceiverStream::new(messages)).await.unwrap();
    let mut answers = answers.into_inner();
    let Some(Told::Welcome(welcome)) = answers.message().await.unwrap().and_then(|message| message.body)
    else {
        panic!("no welcome")
    };
    TERM_MS.store(welcome.lease_ms, Ordering::Relaxed);
    tokio::spawn(async move {
        while let Ok(Some(message)) = answers.message().await {
            if let Some(Told::Answers(batch)) = message.body {
                TERM_MS.store(batch.answers[0].lease_ms, Ordering::Relaxed);
            }
        }
    });
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
