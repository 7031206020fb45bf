//! A real Chromium without a window, driven by its own protocol over two pipes: no driver, no port.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

/// Longer than any answer takes: a browser that hangs fails the test.
const PATIENCE: Duration = Duration::from_secs(60);
/// It talks to nobody, and runs as root on machines of CI.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// A browser with one open page; killed when dropped.
pub(crate) struct Browser {
    program: PathBuf,
    folder: tempfile::TempDir,
    child: Child,
    say: File,
    heard: Receiver<Value>,
    session: String,
    calls: u64,
    /// What happened in the page: requests, exceptions, complaints.
    pub(crate) events: Vec<Value>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    pub(crate) fn start(program: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (to, from) = (folder.path().join("to"), folder.path().join("from"));
        for pipe in [&to, &from] {
            mkfifo(pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        }
        // Open for both, neither end waits for the other.
        let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path).unwrap();
        let (say, hear) = (open(&to), open(&from));
        let child = Command::new("sh")
            .args(["-c", "to=$1; from=$2; shift 2; exec \"$0\" \"$@\" 3<\"$to\" 4>\"$from\""])
            .arg(program)
            .args([&to, &from])
            .args(FLAGS)
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("stderr.log")).unwrap())
            .spawn()
            .unwrap();
        let (tell, heard) = sync_channel(10_000);
        std::thread::spawn(move || {
            for message in BufReader::new(hear).split(0) {
                let message = serde_json::from_slice(&message.unwrap()).unwrap();
                if tell.send(message).is_err() {
                    return;
                }
            }
        });
        let program = program.to_owned();
        Self { program, folder, child, say, heard, session: String::new(), calls: 0, events: Vec::new() }
    }

    /// Opens a page and waits until it is loaded.
    pub(crate) fn open(&mut self, page: &Path) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = self.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        self.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Network", "Log"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        self.events.clear();
        self.call("Page.navigate", json!({ "url": format!("file://{}", page.display()) }));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.next();
            self.events.push(event);
        }
    }

    /// Calls a method of the protocol; its result.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = Value::from(self.session.as_str());
        }
        self.say.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let heard = self.next();
            if heard["id"] == self.calls {
                assert!(heard["error"].is_null(), "{method}: {}", heard["error"]);
                return heard["result"].clone();
            }
            self.events.push(heard);
        }
    }

    /// What an expression gives in the page.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let told = self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        assert!(told["exceptionDetails"].is_null(), "{expression}: {told}");
        told["result"]["value"].clone()
    }

    /// Presses and releases a key.
    pub(crate) fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "End" => 35,
            "Home" => 36,
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            letter => u32::from(letter.to_uppercase().as_bytes()[0]),
        };
        let mut down = json!({ "type": "rawKeyDown", "key": key, "windowsVirtualKeyCode": code });
        if key.len() == 1 {
            (down["type"], down["text"]) = (Value::from("keyDown"), Value::from(key));
        }
        self.call("Input.dispatchKeyEvent", down);
        self.call(
            "Input.dispatchKeyEvent",
            json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code }),
        );
    }

    /// As if it were shown on such a medium, in such colours and so wide.
    pub(crate) fn look(&mut self, medium: &str, scheme: &str, width: u32) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "media": medium, "features": features }));
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Prints a page to a PDF, in a process of its own.
    pub(crate) fn print(&self, page: &Path) -> Vec<u8> {
        let pdf = self.folder.path().join("page.pdf");
        let printed = Command::new(&self.program)
            .args(FLAGS)
            .arg("--no-pdf-header-footer")
            .arg(format!("--user-data-dir={}", self.folder.path().join("printer").display()))
            .arg(format!("--print-to-pdf={}", pdf.display()))
            .arg(format!("file://{}", page.display()))
            .output()
            .unwrap();
        assert!(printed.status.success(), "{printed:?}");
        fs::read(pdf).unwrap()
    }

    fn next(&mut self) -> Value {
        self.heard.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            let log = fs::read_to_string(self.folder.path().join("stderr.log")).unwrap_or_default();
            panic!("the browser says nothing ({error}): {log}")
        })
    }
}
