//! The coordinator as a process of its own, killed without a chance to say anything.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::place::PATIENCE;

/// So that a run writes some.
const SNAPSHOT_RECORDS: &str = "50";

pub(crate) struct Process {
    child: Child,
    data_dir: PathBuf,
    began: Instant,
    serves: oneshot::Receiver<()>,
    log: Rc<RefCell<Vec<String>>>,
}

impl Process {
    /// Starts one; what it says is added to `log`.
    pub(crate) fn start(data_dir: &Path, log: &Rc<RefCell<Vec<String>>>) -> Self {
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_assay-coordinator"))
            .args(["serve", "--listen", "127.0.0.1:0", "--snapshot-records", SNAPSHOT_RECORDS, "--data-dir"])
            .arg(data_dir)
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
        Self { child, data_dir: data_dir.to_owned(), began, serves, log: Rc::clone(log) }
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
        assert_eq!(announced["pid"].as_u64(), self.child.id().map(u64::from));
        (announced["address"].as_str().unwrap().to_owned(), took)
    }

    fn last_words(&self) -> Vec<String> {
        self.log.borrow().iter().rev().take(5).rev().cloned().collect()
    }

    /// SIGKILL, and gone when this answers.
    pub(crate) async fn kill(mut self) {
        // It must have lived until now: one that ended by itself is no round.
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended by itself, {ended:?}; its last words: {:#?}", self.last_words());
        self.child.kill().await.unwrap();
    }
}
