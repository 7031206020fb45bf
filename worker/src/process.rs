//! The agent's side of an engine process: start, talk, notice its end and say why it ended.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use assay_domain::DeviceKind;
use assay_domain::job::FailureClass;
use futures::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command as Process};
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::engine::memory;
use crate::frames::{Command, FRAME_BYTES_MAX, FRAMES_VERSION, Message};
use crate::openmp;

/// How long a killed engine may take to be gone.
const REAP_LIMIT: Duration = Duration::from_secs(10);

/// What an engine process is started with.
#[derive(Debug, Clone)]
pub(crate) struct EngineConfig {
    /// Where it computes.
    pub(crate) device: DeviceKind,
    /// OpenMP threads.
    pub(crate) threads: u32,
    /// What it may use on a processor; 0: what there is.
    pub(crate) memory_limit_mib: u64,
    /// Answers that it generates at once; 0: as many as there is room for.
    pub(crate) rows_at_once: u32,
    /// How long it may take to open its device.
    pub(crate) start_limit: Duration,
    /// The engine that runs now; 0: none has.
    pub(crate) pid: Arc<AtomicU32>,
}

/// A running engine.
pub(crate) struct EngineProcess {
    child: Child,
    frames: Framed<UnixStream, LengthDelimitedCodec>,
    oom_kills_before: Option<u64>,
    /// The device's name as the engine found it.
    pub(crate) device: String,
    /// The device's memory.
    pub(crate) memory_mib: u64,
}

impl EngineProcess {
    /// Starts this binary's `engine` with one end of a socket pair as its standard input, and waits for its greeting.
    pub(crate) async fn start(config: &EngineConfig) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let threads = config.threads;
        let waiting = tokio::task::spawn_blocking(move || openmp::waiting(threads)).await?;
        let child = command(config, OwnedFd::from(theirs))?.envs(waiting).spawn()?;
        config.pid.store(child.id().unwrap_or(0), Ordering::Relaxed);
        let codec = LengthDelimitedCodec::builder()
            .little_endian()
            .length_field_type::<u32>()
            .max_frame_length(FRAME_BYTES_MAX)
            .new_codec();
        let frames = Framed::new(UnixStream::from_std(ours)?, codec);
        let mut engine = Self {
            child,
            frames,
            oom_kills_before: memory::oom_kills(),
            device: String::new(),
            memory_mib: 0,
        };
        engine.send(&Command::Hello { version: FRAMES_VERSION }).await?;
        let greeting = tokio::time::timeout(config.start_limit, engine.receive()).await;
        match greeting {
            Ok(Some(Message::Hello { version: FRAMES_VERSION, device, memory_mib })) => {
                engine.device = device;
                engine.memory_mib = memory_mib;
                Ok(engine)
            }
            Ok(Some(other)) => Err(io::Error::other(format!("the engine greeted with {other:?}"))),
            Ok(None) => Err(io::Error::other(engine.end().await.1)),
            Err(_) => Err(io::Error::other(format!("the engine said nothing for {:?}", config.start_limit))),
        }
    }

    /// Sends one frame.
    pub(crate) async fn send(&mut self, command: &Command) -> io::Result<()> {
        self.frames.send(Bytes::from(serde_json::to_vec(command)?)).await
    }

    /// The next frame; `None` when the engine is gone or sends what cannot be read. Safe to cancel.
    pub(crate) async fn receive(&mut self) -> Option<Message> {
        let frame = self.frames.next().await?;
        let message = frame.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        message.inspect_err(|error| tracing::error!(%error, "the engine's frame cannot be read")).ok()
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Makes sure that it is gone, and says why it went.
    pub(crate) async fn end(&mut self) -> (FailureClass, String) {
        let waited = tokio::time::timeout(Duration::from_millis(500), self.child.wait()).await;
        let status = match waited {
            Ok(status) => status,
            Err(_) => self.kill().await,
        };
        match status {
            Ok(status) => classify(status, self.oom_kills_before, memory::oom_kills()),
            Err(error) => (FailureClass::Crashed, format!("the engine's end is unknown: {error}")),
        }
    }

    async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.start_kill()?;
        let waited = tokio::time::timeout(REAP_LIMIT, self.child.wait()).await;
        waited.unwrap_or_else(|_| Err(io::Error::other("the engine does not die")))
    }
}

fn command(config: &EngineConfig, socket: OwnedFd) -> io::Result<Process> {
    let mut command = Process::new(std::env::current_exe()?);
    let device = match config.device {
        DeviceKind::Cpu | DeviceKind::None => "cpu",
        DeviceKind::Cuda => "cuda",
        DeviceKind::Mps => "mps",
    };
    command.args(["engine", "--device", device, "--memory-limit-mib", &config.memory_limit_mib.to_string()]);
    command.args(["--rows-at-once", &config.rows_at_once.to_string()]);
    command.stdin(Stdio::from(socket)).kill_on_drop(true);
    command.env("OMP_NUM_THREADS", config.threads.to_string());
    Ok(command)
}

fn classify(status: ExitStatus, oom_before: Option<u64>, oom_after: Option<u64>) -> (FailureClass, String) {
    let killed = status.signal() == Some(nix::sys::signal::Signal::SIGKILL as i32);
    if killed && oom_after > oom_before {
        let reason = String::from("the kernel's out-of-memory killer ended the engine");
        return (FailureClass::OutOfMemory, reason);
    }
    (FailureClass::Crashed, format!("the engine ended: {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_classified() {
        let killed = ExitStatus::from_raw(9);
        assert_eq!(classify(killed, Some(3), Some(4)).0, FailureClass::OutOfMemory);
        assert_eq!(classify(killed, Some(3), Some(3)).0, FailureClass::Crashed);
        assert_eq!(classify(killed, None, None).0, FailureClass::Crashed);
        let aborted = ExitStatus::from_raw(6);
        assert!(classify(aborted, Some(0), Some(1)).1.contains("signal"));
    }
}
