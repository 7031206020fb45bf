//! The coordinator's process: arguments, telemetry, serve until told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use assay_coordinator::admin::AdminArgs;
use assay_coordinator::clock::SystemClock;
use assay_coordinator::config::{Config, TeamSetting, teams};
use assay_coordinator::incoming::raise_file_limit;
use assay_coordinator::index::{ProbeCommand, probe_main};
use assay_coordinator::server::Server;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

const DAY_MS: u64 = 86_400_000;
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
    Serve {
        /// The folder that holds everything; made when it is not there.
        #[arg(long, env = "ASSAY_DATA_DIR", default_value = ".assay")]
        data_dir: PathBuf,
        /// Where to listen: loopback only; port 0 picks one.
        #[arg(long, default_value = "127.0.0.1:7717")]
        listen: SocketAddr,
        /// How long a lease lasts from each renewal, in milliseconds.
        #[arg(long, value_parser = clap::value_parser!(u64).range(100..=86_400_000))]
        lease_ms: Option<u64>,
        /// How long after its connection closed a worker may come back, in milliseconds.
        #[arg(long, value_parser = clap::value_parser!(u64).range(0..=86_400_000))]
        reconnect_grace_ms: Option<u64>,
        /// How many records the journal takes between two snapshots.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        snapshot_records: Option<u64>,
        /// TEAM=NUMBER: a team of weight 2 gets twice as many turns as one of weight 1; `*` is each team not named.
        #[arg(long, value_name = "TEAM=NUMBER")]
        team_weight: Vec<TeamSetting>,
        /// TEAM=NUMBER: how many jobs a team may run at once; `*` is each team not named.
        #[arg(long, value_name = "TEAM=NUMBER")]
        team_running_max: Vec<TeamSetting>,
        /// Finished matrices are forgotten so many days after their end; all are kept without it.
        #[arg(long, env = "ASSAY_HISTORY_DAYS", value_parser = clap::value_parser!(u64).range(1..=36_500))]
        history_days: Option<u64>,
        /// When a connection that says nothing is closed, in milliseconds.
        #[arg(long, hide = true, value_parser = clap::value_parser!(u64).range(1..))]
        silent_socket_ms: Option<u64>,
    },
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
        Command::Serve {
            data_dir,
            listen,
            lease_ms,
            reconnect_grace_ms,
            snapshot_records,
            team_weight,
            team_running_max,
            history_days,
            silent_socket_ms,
        } => {
            let mut config = Config { listen, ..Config::new(data_dir) };
            config.limits.lease_ms = lease_ms.unwrap_or(config.limits.lease_ms);
            config.limits.reconnect_grace_ms = reconnect_grace_ms.unwrap_or(config.limits.reconnect_grace_ms);
            config.limits.snapshot_records = snapshot_records.unwrap_or(config.limits.snapshot_records);
            config.limits.teams = teams(&team_weight, &team_running_max);
            config.limits.history_ms = history_days.map_or(config.limits.history_ms, |days| days * DAY_MS);
            config.limits.silent_socket_ms = silent_socket_ms.unwrap_or(config.limits.silent_socket_ms);
            match run(config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    complain(&error);
                    ExitCode::FAILURE
                }
            }
        }
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
