//! What the `main` of every worker needs around [`crate::run`]: where the coordinator is, who we are, when to stop.

use std::path::Path;

use assay_domain::event::WorkerInfo;
use assay_domain::{DeviceKind, WorkKind, WorkerId};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{Coordinator, Token};

/// What a worker says of itself.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// Its device.
    pub device: DeviceKind,
    /// The device's name, for people.
    pub device_name: String,
    /// The device's memory, MiB.
    pub memory_mib: u64,
    /// What it runs.
    pub kinds: Vec<WorkKind>,
}

/// The coordinator of a data folder, or at a URL with a token file.
///
/// # Errors
/// The token file cannot be read.
pub fn coordinator(
    data_dir: &Path,
    url: Option<&str>,
    token_file: Option<&Path>,
) -> std::io::Result<Coordinator> {
    let Some(url) = url else { return Ok(Coordinator::DataDir(data_dir.to_owned())) };
    let token_file = token_file.map_or_else(|| data_dir.join("token"), Path::to_owned);
    let token = std::fs::read_to_string(&token_file)
        .map_err(|error| std::io::Error::other(format!("token file {}: {error}", token_file.display())))?;
    Ok(Coordinator::At { url: url.to_owned(), token: Token::new(&token) })
}

/// A worker's identity: new with every process, readable by people.
///
/// # Errors
/// The system gives no random bytes.
pub fn introduce(introduction: Introduction, version: &str) -> std::io::Result<WorkerInfo> {
    let host = hostname();
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(WorkerInfo {
        id: WorkerId::new(format!("{host}-{}-{random}", std::process::id())),
        host: format!("{host} (process {})", std::process::id()),
        device: introduction.device,
        device_name: introduction.device_name,
        memory_mib: introduction.memory_mib,
        kinds: introduction.kinds,
        version: version.to_owned(),
    })
}

fn hostname() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| String::from("host"))
}

/// Cancelled at the first SIGINT or SIGTERM; a second one ends the process at once.
///
/// # Errors
/// Signals cannot be listened to.
pub fn stop_on_signals() -> std::io::Result<CancellationToken> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if again {
                std::process::exit(130);
            }
            tracing::info!("stopping; a second signal ends at once");
            told.cancel();
        }
    });
    Ok(stop)
}

/// Ends this process when the one that started it and set `ASSAY_PARENT` dies, so that a killed `assay up` leaves nothing behind.
///
/// # Errors
/// The parent is gone already, or the system refuses.
pub fn end_with_parent() -> std::io::Result<()> {
    let Some(parent) = std::env::var("ASSAY_PARENT").ok().and_then(|pid| pid.parse::<i32>().ok()) else {
        return Ok(());
    };
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?;
    if nix::unistd::getppid().as_raw() != parent {
        return Err(std::io::Error::other("the process that started this one is gone"));
    }
    Ok(())
}
