//! The coordinator's process: arguments, telemetry, serve until told to stop.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use assay_coordinator::admin::AdminArgs;
use assay_coordinator::clock::SystemClock;
use assay_coordinator::config::Config;
use assay_coordinator::incoming::raise_file_limit;
use assay_coordinator::index::{ProbeCommand, probe_main};
use assay_coordinator::server::Server;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use serve::Serve;

mod serve;

/// How long the last spans may take to leave.
const TELEMETRY_FLUSH: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(name = "assay-coordinator", version, about = "Remembers and decides: matrices, leases, artifacts")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or ctrl-C.
    Serve(Box<Serve>),
    Admin(AdminArgs),
    /// Opens an index and reads all of it; started by the coordinator itself.
    #[command(hide = true)]
    IndexProbe {
        /// The index's folder.
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::IndexProbe { folder } => probe_main(&folder),
        Command::Admin(admin) => admin.run(),
        Command::Serve(serve) => match run(serve.config()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        },
    }
}

/// Stops this process when the `assay up` that started it and set `ASSAY_PARENT` dies: a killed one leaves nothing behind.
fn end_with_parent() -> anyhow::Result<()> {
    let Some(parent) = std::env::var("ASSAY_PARENT").ok().and_then(|pid| pid.parse::<i32>().ok()) else {
        return Ok(());
    };
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?;
    anyhow::ensure!(nix::unistd::getppid().as_raw() == parent, "the process that started this one is gone");
    Ok(())
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    let telemetry = assay_telemetry::init("assay-coordinator")
        .inspect_err(|error| complain(&anyhow::anyhow!("goes on without telemetry: {error}")))
        .ok();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    end_with_parent()?;
    raise_file_limit();
    let mut server =
        Server::start(config, Arc::new(SystemClock::new()), ProbeCommand::this_program()?).await?;
    tracing::info!(address = %server.address(), token = %server.token_path().display(), "serving");
    tokio::select! {
        // Nothing is answered after this, so nobody waits: the process ends at once.
        error = server.failed() => {
            complain(&error.into());
            std::process::exit(1);
        }
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    let stopped = server.stop().await;
    if let Some(telemetry) = telemetry {
        telemetry.shutdown(TELEMETRY_FLUSH).await;
    }
    Ok(stopped?)
}

#[expect(clippy::print_stderr, reason = "the reason of the end must be seen, telemetry or not")]
fn complain(error: &anyhow::Error) {
    eprintln!("assay-coordinator: {error:#}");
}
