//! A real coordinator process, and clients of it.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use assay_proto::v1;

use super::world::{PATIENCE, World};

const LINES_KEPT: usize = 50;

/// A coordinator's process; killed at the end of the test.
pub(crate) struct Process {
    child: Child,
    /// The last lines of what it says.
    said: JoinHandle<VecDeque<String>>,
    pub(crate) world: World,
}

impl Process {
    /// Starts one that closes silent connections after a while, with a limit of open files if one is given.
    pub(crate) fn start(silent_ms: u32, files: Option<u32>) -> Self {
        Self::start_with(silent_ms, files, &[])
    }

    /// The same, with more flags.
    pub(crate) fn start_with(silent_ms: u32, files: Option<u32>, flags: &[&str]) -> Self {
        Self::serve(tempfile::tempdir().unwrap(), silent_ms, files, flags)
    }

    /// The same, with the state that is in the folder's `data`.
    pub(crate) fn serve(
        folder: tempfile::TempDir,
        silent_ms: u32,
        files: Option<u32>,
        flags: &[&str],
    ) -> Self {
        Self::serve_in(&[], folder, silent_ms, files, flags)
    }

    /// The same in an environment.
    pub(crate) fn serve_in(
        environment: &[(&str, String)],
        folder: tempfile::TempDir,
        silent_ms: u32,
        files: Option<u32>,
        flags: &[&str],
    ) -> Self {
        let limit = files.map(|files| format!("ulimit -n {files}; ")).unwrap_or_default();
        let serve = "exec \"$0\" serve --listen 127.0.0.1:0 --data-dir \"$@\"";
        let mut command = Command::new("sh");
        command.arg("-c").arg(limit + serve).arg(env!("CARGO_BIN_EXE_assay-coordinator"));
        command
            .arg(folder.path().join("data"))
            .args(["--silent-socket-ms", &silent_ms.to_string()])
            .args(flags)
            .envs(environment.iter().cloned())
            .env("ASSAY_LOG", "info")
            .stdin(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let serving = lines.by_ref().any(|line| line.unwrap().contains(": serving "));
        assert!(serving, "it ended before it served");
        // The rest is read, so that it never blocks, and all but the last of it dropped.
        let said = std::thread::spawn(move || {
            let mut last = VecDeque::new();
            for line in lines.map_while(Result::ok) {
                last.push_back(line);
                last.drain(..last.len().saturating_sub(LINES_KEPT));
            }
            last
        });
        let announced = std::fs::read_to_string(folder.path().join("data/coordinator.json")).unwrap();
        let announced: serde_json::Value = serde_json::from_str(&announced).unwrap();
        let world = World::outside(folder, announced["address"].as_str().unwrap());
        Self { child, said, world }
    }

    /// The same; what it has stored stays.
    pub(crate) fn kill_and_keep(mut self) -> tempfile::TempDir {
        let _ended_is_fine = self.child.kill();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.world.folder, tempfile::tempdir().unwrap())
    }

    /// Waits until it ends by itself; answers its last words.
    pub(crate) async fn ends(&mut self) -> String {
        let said = std::mem::replace(&mut self.said, std::thread::spawn(VecDeque::new));
        // What it says ends when it does.
        let said = tokio::task::spawn_blocking(|| said.join().unwrap());
        let said = tokio::time::timeout(PATIENCE, said).await.expect("its end in time").unwrap();
        assert!(!self.child.wait().unwrap().success(), "it ended well");
        said.into_iter().collect::<Vec<_>>().join("\n")
    }

    /// Kills it, as nobody can notice in time.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn address(&self) -> String {
        self.world.url().trim_start_matches("http://").to_owned()
    }

    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// It lives and serves others.
    pub(crate) async fn serves(&mut self) {
        self.world.matrices().list(v1::ListMatricesRequest::default()).await.unwrap();
        assert!(self.child.try_wait().unwrap().is_none(), "it ended");
    }

    /// What it has computed so far, in all its threads; to the nanosecond, as /proc does not tell it.
    pub(crate) fn cpu(&self) -> Duration {
        let process = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::time::ClockId::pid_cpu_clock_id(process).unwrap().now().unwrap().into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone_is_fine = self.child.kill();
        let _gone_is_fine = self.child.wait();
    }
}
