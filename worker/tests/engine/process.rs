//! An engine process as its agent sees it.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// An engine process and our end of its frames.
pub(crate) struct Engine {
    child: Child,
    stream: UnixStream,
}

impl Engine {
    /// Starts it with so much memory.
    pub(crate) fn start(limit_mib: u64) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_assay-worker"))
            .args(["engine", "--device", "cpu", "--memory-limit-mib", &limit_mib.to_string()])
            .env("OMP_NUM_THREADS", "2")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        let mut engine = Self { child, stream: ours };
        let hello = engine.read().unwrap();
        engine.write(&json!({ "Hello": { "version": hello["Hello"]["version"] } }));
        assert_eq!(hello["Hello"]["memory_mib"], limit_mib);
        engine
    }

    /// All that it says of a job, and its writable memory when it began to train, in KiB.
    pub(crate) fn run(&mut self, job: &Value) -> (Vec<Value>, Option<u64>) {
        self.run_and(job, |_| None)
    }

    /// The same; it is told what `answer` makes of what it says.
    pub(crate) fn run_and(
        &mut self,
        job: &Value,
        answer: impl Fn(&Value) -> Option<Value>,
    ) -> (Vec<Value>, Option<u64>) {
        self.write(job);
        let (mut messages, mut loaded) = (Vec::new(), None);
        while let Some(message) = self.read() {
            if message["Progress"]["phase"] == "evaluate" && loaded.is_none() {
                loaded = Some(self.data_kib());
            }
            if let Some(answer) = answer(&message) {
                self.write(&answer);
            }
            let last = ["Done", "Failed", "Cancelled"].iter().any(|end| message.get(end).is_some());
            messages.push(message);
            if last {
                break;
            }
        }
        (messages, loaded)
    }

    fn data_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn write(&mut self, frame: &Value) {
        let body = frame.to_string();
        self.stream.write_all(&(body.len() as u32).to_le_bytes()).unwrap();
        self.stream.write_all(body.as_bytes()).unwrap();
    }

    fn read(&mut self) -> Option<Value> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        self.stream.read_exact(&mut body).unwrap();
        Some(serde_json::from_slice(&body).unwrap())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _gone_is_fine = self.child.kill();
        let _gone_is_fine = self.child.wait();
    }
}
