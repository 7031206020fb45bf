//! The coordinator as a process of its own, killed without a chance to say anything.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::place::PATIENCE;

const COORDINATOR: &str = env!("CARGO_BIN_EXE_assay-coordinator");
/// So that a run writes some.
const SNAPSHOT_RECORDS: &str = "50";
/// A killed worker is missed soon; a busy machine keeps a lease nevertheless.
const LEASE_MS: &str = "10000";
const GRACE_MS: &str = "500";

pub(crate) struct Process {
    child: Child,
    is_traced: bool,
    data_dir: PathBuf,
    began: Instant,
    serves: oneshot::Receiver<()>,
    log: Rc<RefCell<Vec<String>>>,
}

impl Process {
    /// Starts one; what it says is added to `log`.
    pub(crate) fn start(data_dir: &Path, log: &Rc<RefCell<Vec<String>>>) -> Self {
        Self::run(Command::new(COORDINATOR), false, data_dir, log)
    }

    /// The same under strace, which does what it is told at its system calls.
    pub(crate) fn traced(data_dir: &Path, log: &Rc<RefCell<Vec<String>>>, strace: &[String]) -> Self {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq"]).args(strace).arg(COORDINATOR);
        Self::run(command, true, data_dir, log)
    }

    fn run(mut command: Command, is_traced: bool, data_dir: &Path, log: &Rc<RefCell<Vec<String>>>) -> Self {
        let began = Instant::now();
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--snapshot-records", SNAPSHOT_RECORDS, "--data-dir"])
            .arg(data_dir)
            .args(["--lease-ms", LEASE_MS, "--reconnect-grace-ms", GRACE_MS])
            .env("ASSAY_LOG", "info")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (serving, serves) = oneshot::channel();
        let (mut serving, written) = (Some(serving), Rc::clone(log));
        tokio::task::spawn_local(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains(": serving ")
                    && let Some(serving) = serving.take()
                {
                    let _ = serving.send(());
                }
                written.borrow_mut().push(line);
            }
        });
        Self { child, is_traced, data_dir: data_dir.to_owned(), began, serves, log: Rc::clone(log) }
    }

    /// Waits until it serves; answers where, and how long that took from its start.
    pub(crate) async fn serves(&mut self) -> (String, Duration) {
        let serves = tokio::time::timeout(PATIENCE, &mut self.serves).await;
        let took = self.began.elapsed();
        if !matches!(serves, Ok(Ok(()))) {
            panic!("it does not serve; its last words: {:#?}", self.last_words());
        }
        let announced = std::fs::read(self.data_dir.join("coordinator.json")).unwrap();
        let announced: serde_json::Value = serde_json::from_slice(&announced).unwrap();
        assert!(self.is_traced || announced["pid"].as_u64() == self.child.id().map(u64::from));
        (announced["address"].as_str().unwrap().to_owned(), took)
    }

    /// Whether it serves before it ends by itself.
    pub(crate) async fn serves_or_ends(&mut self) -> Option<(String, Duration)> {
        let served = tokio::select! {
            served = &mut self.serves => served.is_ok(),
            _ = self.child.wait() => false,
            () = tokio::time::sleep(PATIENCE) => panic!("it neither serves nor ends: {:#?}", self.last_words()),
        };
        // The address is written before it says so; one that is killed after that has answered nobody.
        let announced = std::fs::read(self.data_dir.join("coordinator.json")).ok().filter(|_| served)?;
        let announced: serde_json::Value = serde_json::from_slice(&announced).ok()?;
        Some((announced["address"].as_str()?.to_owned(), self.began.elapsed()))
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ends(&mut self) {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it goes on: {:#?}", self.last_words())).unwrap();
        assert!(!ended.success(), "it ended well; its last words: {:#?}", self.last_words());
    }

    /// Asks it to stop, and waits for its end.
    pub(crate) async fn stop(mut self) {
        let announced = std::fs::read(self.data_dir.join("coordinator.json")).unwrap();
        let announced: serde_json::Value = serde_json::from_slice(&announced).unwrap();
        let pid = i32::try_from(announced["pid"].as_u64().unwrap()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        assert!(tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap().success());
    }

    fn last_words(&self) -> Vec<String> {
        self.log.borrow().iter().rev().take(5).rev().cloned().collect()
    }

    /// SIGSTOP, and SIGCONT after a while.
    pub(crate) async fn stand_still(&self, time: Duration) {
        stand_still(&self.child, time).await;
    }

    /// SIGKILL, and gone when this answers.
    pub(crate) async fn kill(mut self) {
        // It must have lived until now: one that ended by itself is no round.
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended by itself, {ended:?}; its last words: {:#?}", self.last_words());
        self.child.kill().await.unwrap();
    }
}

/// Stops a process for a while.
pub(crate) async fn stand_still(child: &Child, time: Duration) {
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    tokio::time::sleep(time).await;
    kill(pid, Signal::SIGCONT).unwrap();
}
