//! A long past: how fast a coordinator with many finished and waiting jobs is back, and what lists of them cost.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use assay_coordinator::disk::{Disk, RealDisk};
use assay_coordinator::journal::{Journal, JournalConfig};
use assay_domain::matrix::ResolvedMatrix;
use assay_domain::{Attempt, Epoch, Event, Fence, JobId, Lease, PlannedJob, UnixMillis};
use assay_proto::v1;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::process::Process;
use crate::worker::Worker;
use crate::{SILENT_MS, matrix, past, percentiles};

/// Jobs that finished; a tenth as many wait.
const SIZES: [u64; 3] = [1_000, 10_000, 100_000];
const LARGE: u64 = 1_000_000;
/// Six jobs each, and one for all.
const SEEDS: u64 = 160;
const EPOCH: Epoch = Epoch(1);

pub(crate) async fn measure() -> Value {
    let large = std::env::var_os("ASSAY_BENCH_LARGE").map(|_| LARGE);
    let mut sizes = Vec::new();
    for jobs in SIZES.into_iter().chain(large) {
        sizes.push(one(jobs).await);
    }
    json!(sizes)
}

async fn one(jobs: u64) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let finished = write_past(&data.join("journal"), jobs);
    // Writes a snapshot, as a coordinator does while it runs, and leaves the index to the next start.
    let mut compact = Command::new(env!("CARGO_BIN_EXE_assay-coordinator"));
    let compacted = compact.args(["admin", "compact", "--data-dir"]).arg(&data).output().unwrap();
    assert!(compacted.status.success(), "{compacted:?}");
    let began = Instant::now();
    build_index(&data);
    let rebuilt = began.elapsed();
    let began = Instant::now();
    let process = Process::serve(folder, SILENT_MS, None, &[]);
    let serving = began.elapsed();
    let mut worker = Worker::connect(&process.world, "w", &[]).await;
    worker.offer().await;
    let first_lease = began.elapsed();
    json!({
        "finished": finished, "waiting": jobs / 10, "index_rebuilt_s": rebuilt.as_secs_f64(), "serving_s": serving.as_secs_f64(),
        "first_lease_s": first_lease.as_secs_f64(), "memory_mib": process.memory_kib() >> 10,
        "page_ms": percentiles(pages(&process).await),
    })
}

/// A start and a regular end.
fn build_index(data: &Path) {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_assay-coordinator"));
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data).env("ASSAY_LOG", "info");
    let mut child = serve.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains(": serving ")), "it ended before it served");
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    lines.count();
    assert!(child.wait().unwrap().success());
}

/// Each page of all matrices, from the newest on.
async fn pages(process: &Process) -> Vec<Duration> {
    let mut matrices = process.world.matrices();
    let (mut took, mut page_token) = (Vec::new(), String::new());
    loop {
        let began = Instant::now();
        let request = v1::ListMatricesRequest { page_token, page_size: 0 };
        page_token = matrices.list(request).await.unwrap().into_inner().next_page_token;
        took.push(began.elapsed());
        if page_token.is_empty() {
            return took;
        }
    }
}

/// Matrices that ran to their end, then some that wait. Answers how many jobs finished.
fn write_past(folder: &Path, jobs: u64) -> u64 {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    std::fs::create_dir_all(folder).unwrap();
    let mut journal = Journal::open(disk, folder, JournalConfig::default(), 0, 0).unwrap();
    append(&mut journal, &[Event::EpochRaised { epoch: EPOCH }]);
    let mut resolved = matrix::resolved(0);
    resolved["matrix"]["seeds"] = (0..SEEDS).collect();
    let known: ResolvedMatrix = serde_json::from_value(resolved).unwrap();
    let plan = assay_domain::plan::plan(&known).unwrap();
    let count = |jobs: u64| jobs.div_ceil(plan.len() as u64);
    let (ran, wait) = (count(jobs), count(jobs / 10));
    for number in 0..ran + wait {
        append(&mut journal, &matrix_events(number, &plan, number < ran));
    }
    ran * plan.len() as u64
}

fn matrix_events(number: u64, plan: &[PlannedJob], ran: bool) -> Vec<Event> {
    let at = UnixMillis(1_700_000_000_000 + number);
    let submitted = past::submitted(number, plan, at);
    let id = submitted.id.clone();
    let mut events = vec![Event::MatrixSubmitted { matrix: Box::new(submitted) }];
    if ran {
        for planned in plan {
            let job = JobId { matrix: id.clone(), ordinal: planned.ordinal };
            let lease = Lease { job, fence: Fence { epoch: EPOCH, attempt: Attempt(1) } };
            events.extend(past::life(&lease, &planned.work, at));
        }
        events.push(Event::MatrixArchived { matrix: id, at });
    }
    events
}

fn append(journal: &mut Journal, events: &[Event]) {
    let records: Vec<Vec<u8>> = events.iter().map(|event| serde_json::to_vec(event).unwrap()).collect();
    journal.append(&records).unwrap();
}
