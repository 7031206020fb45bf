//! Coordinator and workers one by one, each a process that a test can stop, cut off and watch.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use assay_tests::binary;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::processes::{Process, below};
use crate::world::World;

/// The longest that anything here may take before the test fails.
const LIMIT: Duration = Duration::from_secs(180);
/// Between two looks at something.
const LOOK: Duration = Duration::from_millis(20);
/// So short that a test need not wait long for its end, so long that a busy machine keeps it.
pub(crate) const SHORT_LEASE_MS: u64 = 6_000;
/// Longer than a test.
pub(crate) const LONG_LEASE_MS: u64 = 600_000;

/// A process and what it says on its standard error.
pub(crate) struct Part {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Part {
    fn start(command: &mut Command) -> Self {
        let command = command.env("ASSAY_LOG", "info").stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let pipe = child.stderr.take().unwrap();
        let (sender, lines) = sync_channel(10_000);
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                // A test that has read enough does not block it.
                let _full_is_fine = sender.try_send(line);
            }
        });
        Self { child, lines, said: Vec::new() }
    }

    /// The coordinator of a world's data folder, with its times, and where it is.
    pub(crate) fn coordinator(world: &World, lease_ms: u64, grace_ms: u64) -> (Self, SocketAddr) {
        let (lease, grace) = (lease_ms.to_string(), grace_ms.to_string());
        let mut command = Command::new(binary("assay-coordinator"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--lease-ms", &lease]);
        command.args(["--reconnect-grace-ms", &grace, "--data-dir"]).arg(world.data_dir());
        let mut part = Self::start(&mut command);
        part.says(": serving ");
        let place = fs::read_to_string(world.data_dir().join("coordinator.json")).unwrap();
        let place: Value = serde_json::from_str(&place).unwrap();
        (part, place["address"].as_str().unwrap().parse().unwrap())
    }

    /// A worker with a folder of its own, that finds the coordinator at an address.
    pub(crate) fn worker(world: &World, name: &str, coordinator: SocketAddr) -> Self {
        let mut command = Command::new(binary("assay-worker"));
        command.args(["agent", "--threads", "2", "--coordinator", &format!("http://{coordinator}")]);
        command.arg("--token-file").arg(world.data_dir().join("token"));
        command.arg("--work-dir").arg(world.path(name));
        let mut part = Self::start(&mut command);
        part.says("welcomed by the coordinator");
        part
    }

    /// Reads on until it says something with one of these words; that line.
    #[track_caller]
    pub(crate) fn says_one_of(&mut self, words: &[&str]) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(LIMIT) else {
                panic!("it never said one of {words:?}, but:\n{}", self.said.join("\n"));
            };
            self.said.push(line.clone());
            if words.iter().any(|words| line.contains(words)) {
                return line;
            }
        }
    }

    #[track_caller]
    pub(crate) fn says(&mut self, words: &str) -> String {
        self.says_one_of(&[words])
    }

    /// How often it has said this so far.
    pub(crate) fn count(&mut self, words: &str) -> usize {
        self.said.extend(self.lines.try_iter());
        self.said.iter().filter(|line| line.contains(words)).count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// The process that computes for this worker.
    pub(crate) fn engine(&self) -> Process {
        let engine = |process: &Process| process.command.contains("assay-worker engine");
        below(self.child.id()).into_iter().find(engine).expect("a worker has an engine")
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let started = below(self.child.id());
        let _gone_is_fine = self.child.kill();
        let _gone_is_fine = self.child.wait();
        for process in started {
            process.signal(Signal::SIGKILL);
        }
    }
}

/// Looks until it is so; how long that took.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "what others do is looked at now and then")]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let began = now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "{what}: not in {} s", LIMIT.as_secs());
        std::thread::sleep(LOOK);
    }
    began.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "a limit on waiting, and figures for people")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Submits the matrix file; its id.
pub(crate) fn submit(world: &World, flags: &[&str]) -> String {
    let submitted = world.json(&[&["submit", "matrix.yaml"], flags].concat());
    submitted["matrix"].as_str().unwrap().to_owned()
}

/// The workers that are connected.
pub(crate) fn connected(world: &World) -> usize {
    let fleet = world.json(&["fleet"]);
    fleet.as_array().unwrap().iter().filter(|worker| worker["connected"] == true).count()
}

/// The training of a matrix, its first job, as `assay status` has it.
pub(crate) fn training(world: &World, matrix: &str) -> Value {
    world.json(&["status", matrix])["jobs"][0].clone()
}

pub(crate) fn until_training_is(world: &World, matrix: &str, status: &str) -> Duration {
    until(&format!("the training is {status}"), || training(world, matrix)["status"] == status)
}

/// How the attempts of a job ended; and each of its outputs is of the attempt that succeeded.
pub(crate) fn outcomes(job: &Value) -> Vec<String> {
    let attempts = job["attempts"].as_array().unwrap();
    let outcome = |attempt: &Value| attempt["outcome"].as_str().unwrap().to_owned();
    let won = attempts.iter().find(|attempt| outcome(attempt) == "succeeded").expect("one succeeded");
    let won = won["fence"].as_str().unwrap();
    for output in job["outputs"].as_array().unwrap() {
        // What an earlier attempt had saved and this one went on from is that one's.
        let earlier = output["name"].as_str().unwrap().contains('@');
        for file in output["files"].as_array().unwrap() {
            let key = file["key"].as_str().unwrap();
            assert!(earlier || key.contains(&format!("/{won}/")), "{key} is not of {won}");
        }
    }
    attempts.iter().map(outcome).collect()
}

/// Waits until a worker has nothing more of an attempt that it lost.
pub(crate) fn until_cleaned_up(world: &World, worker: &str, attempt: &str) {
    let folder = world.path(worker).join("attempts");
    let left = || {
        let entries = fs::read_dir(&folder).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_str().unwrap().ends_with(attempt)).count()
    };
    until("the lost attempt's folder is gone", || left() == 0);
}
