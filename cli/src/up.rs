//! `assay up` and `assay run`: coordinator, worker and judge-runner as processes of this machine.

mod service;
mod signals;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::{self, Connection, Operator};
use crate::connect::Coordinator;
use crate::exit::Failed;
use crate::resolve::{Purpose, resolve};
use crate::{print, submit, watch};
use service::Service;
use signals::Signals;

/// How long the coordinator may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often it is asked meanwhile.
const START_POLL: Duration = Duration::from_millis(50);

/// The three processes, and what stops them: the workers first, the coordinator after them.
struct Stack {
    coordinator: Coordinator,
    workers: Vec<JoinHandle<()>>,
    server: JoinHandle<()>,
    stop_server: CancellationToken,
    _lock: File,
}

/// Keeps everything running until interrupted.
pub(crate) async fn run(args: &args::Up) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let stack = Stack::start(&Start::up(args), &signals).await?;
    print::say(format!(
        "coordinator at {}; logs in {}",
        stack.coordinator.address,
        logs(&args.data_dir).display()
    ));
    print::say("ctrl-C stops; what runs goes on at the next start");
    signals.stop.cancelled().await;
    stack.end().await;
    Ok(())
}

/// Runs one matrix to its report, with a stack of its own unless one is up.
pub(crate) async fn run_matrix(args: &args::Run) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    // A wrong matrix is told before anything is started.
    let resolved = resolve(&args.matrix, Purpose::Run)?;
    let connection = Connection { data_dir: args.data_dir.clone(), coordinator: None, token_file: None };
    let running = match Coordinator::find(&connection) {
        Ok(coordinator) if coordinator.is_healthy().await => Some(coordinator),
        Ok(_) | Err(_) => None,
    };
    let stack = match &running {
        Some(_) => None,
        None => Some(Stack::start(&Start::run(args), &signals).await?),
    };
    let coordinator = running.as_ref().or(stack.as_ref().map(|stack| &stack.coordinator));
    let coordinator = coordinator.context("no coordinator was started")?;
    let to_report = async {
        let submitted = submit::submit(coordinator, &resolved, None, args.fresh).await?;
        submit::announce(&submitted);
        watch::to_report(coordinator, &submitted.matrix, &args.data_dir, args.json).await
    };
    let ended = tokio::select! {
        ended = to_report => ended,
        () = signals.stop.cancelled() => Err(Failed::Interrupted.into()),
    };
    signals.stop.cancel();
    if let Some(stack) = stack {
        stack.end().await;
    }
    ended
}

/// What the processes are told.
struct Start<'a> {
    data_dir: &'a Path,
    listen: String,
    threads: u32,
    lease_ms: u64,
    operator: Operator,
}

impl<'a> Start<'a> {
    fn up(args: &'a args::Up) -> Self {
        let args::Up { data_dir, listen, threads, lease_ms, operator } = args;
        let (listen, operator) = (listen.to_string(), operator.clone());
        Self { data_dir, listen, threads: *threads, lease_ms: *lease_ms, operator }
    }

    fn run(args: &'a args::Run) -> Self {
        let args::Run { data_dir, threads, lease_ms, .. } = args;
        let (listen, operator) = (String::from("127.0.0.1:0"), Operator::default());
        Self { data_dir, listen, threads: *threads, lease_ms: *lease_ms, operator }
    }
}

impl Stack {
    async fn start(start: &Start<'_>, signals: &Signals) -> anyhow::Result<Self> {
        let Start { data_dir, listen, threads, lease_ms, operator } = start;
        std::fs::create_dir_all(logs(data_dir)).with_context(|| data_dir.display().to_string())?;
        let lock = lock(data_dir)?;
        let data = data_dir.display().to_string();
        let lease_ms = lease_ms.to_string();
        let stop_server = CancellationToken::new();
        let operator = operator.to_args();
        let mut serve = vec!["serve", "--data-dir", &data, "--listen", listen, "--lease-ms", &lease_ms];
        serve.extend(operator.iter().map(String::as_str));
        let server = Service::new("assay-coordinator", &serve, data_dir)?;
        // An old address must not be taken for the new one.
        let _ = std::fs::remove_file(data_dir.join("coordinator.json"));
        let mut server = tokio::spawn(server.keep(stop_server.clone(), signals.kill.clone()));
        let started = tokio::select! {
            started = wait_until_healthy(data_dir, &mut server) => started,
            () = signals.stop.cancelled() => Err(Failed::Interrupted.into()),
        };
        let coordinator = match started {
            Ok(coordinator) => coordinator,
            Err(error) => {
                stop_server.cancel();
                // One that ended by itself was waited for already.
                if !server.is_finished() {
                    let _ = server.await;
                }
                return Err(error);
            }
        };
        let threads = threads.to_string();
        let worker =
            Service::new("assay-worker", &["agent", "--data-dir", &data, "--threads", &threads], data_dir)?;
        // As any other, it gets the token for a file with the lease of a job that reads it.
        let worker = worker.without("HF_TOKEN");
        let runner = Service::new("assay-judge-runner", &["run", "--data-dir", &data], data_dir)?;
        let workers = [worker, runner]
            .map(|service| tokio::spawn(service.keep(signals.stop.clone(), signals.kill.clone())))
            .into_iter()
            .collect();
        Ok(Self { coordinator, workers, server, stop_server, _lock: lock })
    }

    /// To be called when the workers were told to stop.
    async fn end(self) {
        for worker in self.workers {
            let _ = worker.await;
        }
        self.stop_server.cancel();
        let _ = self.server.await;
    }
}

async fn wait_until_healthy(data_dir: &Path, server: &mut JoinHandle<()>) -> anyhow::Result<Coordinator> {
    let connection = Connection { data_dir: data_dir.to_owned(), coordinator: None, token_file: None };
    let healthy = async {
        loop {
            if let Ok(coordinator) = Coordinator::find(&connection)
                && coordinator.is_healthy().await
            {
                return coordinator;
            }
            tokio::time::sleep(START_POLL).await;
        }
    };
    let log = logs(data_dir).join("assay-coordinator.log");
    let not_started = |why: &str| {
        Failed::Unreachable(format!(
            "the coordinator {why}; its log {} ends with:\n{}",
            log.display(),
            tail(&log)
        ))
    };
    tokio::select! {
        coordinator = tokio::time::timeout(START_LIMIT, healthy) => {
            coordinator.map_err(|_| not_started(&format!("does not answer within {} s", START_LIMIT.as_secs())).into())
        }
        _ = server => Err(not_started("cannot be started").into()),
    }
}

fn lock(data_dir: &Path) -> anyhow::Result<File> {
    let path = data_dir.join("up.lock");
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failed::Refused(format!(
            "`{}` is in use by another `assay up` or `assay run`: `assay status` shows what goes on there, or give this one its own `--data-dir`",
            data_dir.display()
        ))
        .into()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn logs(data_dir: &Path) -> PathBuf {
    data_dir.join("logs")
}

fn tail(path: &Path) -> String {
    const LINES: usize = 5;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
