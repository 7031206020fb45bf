//! The agent process: holds the gRPC stream and the lease, never calls LibTorch.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use assay_agent::{AgentConfig, shell};
use assay_domain::WorkKind;

use crate::args;
use crate::executor::EngineExecutor;
use crate::offer;
use crate::process::{EngineConfig, EngineProcess};

/// How long an engine may take to open its device.
const ENGINE_START_LIMIT: Duration = Duration::from_secs(60);
/// How long the last traces may take to be sent.
const TELEMETRY_LIMIT: Duration = Duration::from_secs(5);

/// Works until told to stop.
pub(crate) fn run(args: args::Agent) -> anyhow::Result<()> {
    shell::end_with_parent()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let telemetry = assay_telemetry::init("assay-worker")?;
        let ended = work(&args).await;
        telemetry.shutdown(TELEMETRY_LIMIT).await;
        ended
    })
}

async fn work(args: &args::Agent) -> anyhow::Result<()> {
    let stop = shell::stop_on_signals()?;
    let work_dir = args.work_dir.clone().unwrap_or_else(|| args.connection.data_dir.join("worker"));
    std::fs::create_dir_all(&work_dir).with_context(|| format!("work folder {}", work_dir.display()))?;
    let _lock = lock(&work_dir)?;
    let engine = EngineConfig {
        device: args.device.into(),
        threads: threads(args.threads),
        memory_limit_mib: args.memory_limit_mib,
        rows_at_once: args.rows_at_once,
        start_limit: ENGINE_START_LIMIT,
        pid: Arc::default(),
    };
    let process = EngineProcess::start(&engine).await.context("the engine does not start")?;
    let coordinator = args.connection.coordinator()?;
    let gpu = offer::Gpu::of(engine.device);
    let introduction = shell::Introduction {
        device: engine.device,
        device_name: gpu.as_ref().map_or_else(|| process.device.clone(), |gpu| gpu.name.clone()),
        memory_mib: gpu.as_ref().map_or(process.memory_mib, |gpu| gpu.memory_mib),
        kinds: vec![WorkKind::Train, WorkKind::Generate, WorkKind::Score],
        usd_per_hour: args.usd_per_hour,
    };
    let mut config = AgentConfig::new(
        coordinator,
        shell::introduce(introduction, env!("CARGO_PKG_VERSION"))?,
        work_dir.clone(),
    );
    config.limits.cache_bytes_max = args.cache_bytes_max;
    config.seats = args.jobs_per_batch - 1;
    config.ends_at = args.life.ends_at();
    config.memory = offer::memory(engine.device, process.memory_mib, Arc::clone(&engine.pid));
    let executor = EngineExecutor::new(engine, Duration::from_secs(args.stall_s), process);
    Ok(assay_agent::run(config, executor, stop).await?)
}

/// One agent for each work folder, so that two never share a device or a cache.
fn lock(work_dir: &Path) -> anyhow::Result<File> {
    let path = work_dir.join("lock");
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another worker uses `{}`: give this one its own `--work-dir`", work_dir.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn threads(asked: u32) -> u32 {
    match asked {
        0 => std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
        asked => asked,
    }
}
