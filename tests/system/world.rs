//! A folder with a small matrix and its data, and the `assay` command in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard};

use assay_tests::binary;
use serde_json::Value;
use tempfile::TempDir;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Holds the machine for one test. A test that failed holds nothing back.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Twelve rows, six steps an epoch, two epochs; six new tokens for each of two prompts; two smoke judges.
const MATRIX: &str = "\
name: tiny
models:
  - { name: smollm2, path: MODEL }
data:
  - { name: philosophy, train: train.jsonl, train_rows: 12, valid: valid.jsonl, valid_rows: 2 }
recipes:
  - name: lora-r8
    rank: 8
    alpha: 16
    epochs: 2
    micro_batch: 1
    accumulate: 2
    learning_rate: 5e-4
    warmup_steps: 1
    max_length: 96
prompts:
  - { name: eval, file: prompts.jsonl, take: { in-domain: 1, out-of-domain: 1 } }
sampling:
  - { name: t075, temperature: 0.75, max_new_tokens: 6, seed: 42 }
panel:
  orders: full
  judges:
    - { name: smoke-plain, kind: logprob, model: smollm2, template: smoke-plain-v1 }
    - { name: smoke-rubric, kind: logprob, model: smollm2, template: smoke-rubric-v1 }
";

/// A folder that is gone at the end of the test.
pub(crate) struct World {
    folder: TempDir,
    /// Where all processes send their traces; nowhere when there is none.
    otlp: Option<String>,
    /// Whether the key of [`KEY`] is in the environment.
    key: bool,
    /// What else is in it.
    variables: Vec<(&'static str, String)>,
}

/// What `ASSAY_TEST_KEY` is for judges that need a key.
pub(crate) const KEY: &str = "sk-planted-7f6e5d4c3b";

impl World {
    /// The small matrix on a model's folder, with the demo's data beside it.
    pub(crate) fn new(model: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self { folder, otlp: None, key: false, variables: Vec::new() };
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data");
        for name in ["train.jsonl", "valid.jsonl", "prompts.jsonl"] {
            fs::copy(data.join(name), world.path(name)).unwrap();
        }
        fs::write(world.matrix(), MATRIX.replace("MODEL", model.to_str().unwrap())).unwrap();
        world
    }

    /// The same, with all processes traced to an OTLP receiver.
    pub(crate) fn traced(model: &Path, otlp: &str) -> Self {
        Self { otlp: Some(otlp.to_owned()), ..Self::new(model) }
    }

    /// The same, with a judge's key in the environment of all processes.
    pub(crate) fn with_key(self) -> Self {
        Self { key: true, ..self }
    }

    /// The same, with a variable in the environment of the commands, and so of all processes.
    pub(crate) fn with_variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// The matrix file with a text in it replaced.
    pub(crate) fn change_matrix(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.matrix()).unwrap();
        assert!(text.contains(from), "`{from}` is not in the matrix file");
        fs::write(self.matrix(), text.replace(from, to)).unwrap();
    }

    /// The matrix file with other recipes, up to its prompts.
    pub(crate) fn change_recipes(&self, recipes: &str) {
        let text = fs::read_to_string(self.matrix()).unwrap();
        let (before, rest) = text.split_once("recipes:\n").unwrap();
        let (_, after) = rest.split_once("prompts:\n").unwrap();
        fs::write(self.matrix(), format!("{before}{recipes}{after}")).unwrap();
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The matrix file.
    pub(crate) fn matrix(&self) -> PathBuf {
        self.path("matrix.yaml")
    }

    /// The data folder of the commands.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// `assay`, in the folder, before it is started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary("assay"));
        command.args(args).current_dir(self.folder.path());
        command.envs(self.otlp.iter().map(|endpoint| ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)));
        command.envs(self.key.then_some(("ASSAY_TEST_KEY", KEY)));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// `assay ARGS`, run to its end.
    pub(crate) fn assay(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(args).output().unwrap())
    }

    /// What `assay ARGS --data-dir DATA --json` prints.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let ended = self.assay(&[args, &["--data-dir", "data", "--json"]].concat());
        ended.expect(0);
        serde_json::from_str(&ended.out).unwrap()
    }

    /// The lines of `assay logs JOB ARGS`.
    pub(crate) fn logs(&self, job: &str, args: &[&str]) -> Vec<String> {
        let ended = self.assay(&[&["logs", job, "--data-dir", "data"], args].concat());
        ended.expect(0);
        ended.out.lines().map(str::to_owned).collect()
    }

    /// The matrix from start to report in the data folder, which has no coordinator yet.
    pub(crate) fn run(&self) -> Ended {
        let ended = self.assay(&["run", "matrix.yaml", "--data-dir", "data", "--threads", "2"]);
        ended.expect(0);
        ended
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Fails unless it ended with this code.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32) {
        assert_eq!(self.code, Some(code), "standard output:\n{}\nstandard error:\n{}", self.out, self.err);
    }

    /// Matrix, jobs, and reused jobs, as `submitted m-1: 9 jobs, 0 of them ...` says.
    pub(crate) fn submitted(&self) -> (String, u32, u32) {
        let line = self.err.lines().find_map(|line| line.strip_prefix("submitted ")).unwrap();
        let (matrix, counts) = line.split_once(": ").unwrap();
        let mut counts = counts.split([' ', ',']).filter_map(|word| word.parse().ok());
        (matrix.to_owned(), counts.next().unwrap(), counts.next().unwrap())
    }
}
