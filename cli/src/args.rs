//! The command line of `assay`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use assay_domain::job::LossOn;
use clap::{Args as ClapArgs, Parser, Subcommand};

pub(crate) use budget::Budget;
pub(crate) use judge::{Judge, JudgeAnnotate, JudgeResume, JudgeStatus};
pub(crate) use operator::Operator;
pub(crate) use report::{Import, Report, ReportFrom, ReportOutput};

mod budget;
mod judge;
mod operator;
mod report;

/// Plans, runs and reports small-data fine-tuning experiments.
///
/// Exit codes: 0 done, 1 a job of the matrix failed, 2 wrong input, 3 no coordinator answers, 4 refused, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "assay", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start coordinator, worker and judge-runner on this machine and keep them running.
    Up(Up),
    /// Run a matrix from start to report; starts what is not up, and stops it at the end.
    Run(Run),
    /// Show the jobs, tokens, times and cost of a matrix without running anything.
    Plan(Plan),
    /// Submit a matrix to a running coordinator.
    Submit(Submit),
    /// Run again what a finished matrix lacks: what failed, was cancelled or is gone.
    Retry(Retry),
    /// Follow a matrix until it is finished.
    Watch(Watch),
    /// List matrices, or the jobs of one.
    Status(Status),
    /// Print the logs of a matrix or of one job.
    Logs(Logs),
    /// Stop what has not finished of a matrix, a job, or a job and all that needs it.
    Cancel(Cancel),
    /// Hold a matrix back: what runs goes on, and nothing more is started.
    Pause(OfMatrix),
    /// Let a paused matrix go on.
    Resume(OfMatrix),
    /// Say for each worker why a job is not on it, and what would change that.
    Explain(Explain),
    /// Show what is left of budgets, or say what a matrix may cost.
    Budget(Budget),
    /// Print or write the report of a finished matrix.
    Report(Report),
    /// Look after judges: how far they are, asking what is missing, judging by hand.
    #[command(subcommand)]
    Judge(Judge),
    /// Write the adapter of a finished training as others load it: PEFT, vLLM, or merged weights.
    Export(Export),
    /// List the workers, take one out, or give it jobs again.
    Fleet(Fleet),
    /// Import and look at models.
    #[command(subcommand)]
    Model(Model),
    /// Look at training data as a model will see it.
    #[command(subcommand)]
    Data(Data),
    /// Print what happened: who did what to what, when.
    Events(Events),
    /// Verify, back up or restore a coordinator's data folder: `assay admin --help`.
    #[command(disable_help_flag = true)]
    Admin {
        /// What the coordinator's program is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Print the JSON Schema of matrix files.
    Schema,
}

/// Which coordinator.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Connection {
    /// The data folder of a coordinator on this machine: its address and token are read there.
    #[arg(long, default_value = ".assay")]
    pub(crate) data_dir: PathBuf,
    /// The coordinator's address, such as `http://127.0.0.1:7717`, when it is not that of the data folder.
    #[arg(long)]
    pub(crate) coordinator: Option<String>,
    /// A file that holds the token, when it is not that of the data folder.
    #[arg(long)]
    pub(crate) token_file: Option<PathBuf>,
}

impl Command {
    /// The name of its span.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Up(_) => "assay up",
            Self::Run(_) => "assay run",
            Self::Plan(_) => "assay plan",
            Self::Submit(_) => "assay submit",
            Self::Retry(_) => "assay retry",
            Self::Watch(_) => "assay watch",
            Self::Status(_) => "assay status",
            Self::Logs(_) => "assay logs",
            Self::Cancel(_) => "assay cancel",
            Self::Pause(_) => "assay pause",
            Self::Resume(_) => "assay resume",
            Self::Explain(_) => "assay explain",
            Self::Budget(_) => "assay budget",
            Self::Report(_) => "assay report",
            Self::Judge(_) => "assay judge",
            Self::Export(_) => "assay export",
            Self::Fleet(_) => "assay fleet",
            Self::Model(_) => "assay model",
            Self::Data(_) => "assay data",
            Self::Events(_) => "assay events",
            Self::Admin { .. } => "assay admin",
            Self::Schema => "assay schema",
        }
    }
}

/// Which matrix file, and how to read it.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct MatrixFile {
    /// The matrix, in YAML.
    pub(crate) file: PathBuf,
    /// A variant of the file, such as `full`.
    #[arg(long)]
    pub(crate) variant: Option<String>,
    /// The variant `full`.
    #[arg(long, conflicts_with = "variant")]
    pub(crate) full: bool,
    /// Ask the labs' judges through their batch APIs: half the price, answers within a day.
    #[arg(long)]
    pub(crate) batch: bool,
}

impl MatrixFile {
    /// The variant asked for.
    pub(crate) fn variant(&self) -> Option<&str> {
        if self.full { Some("full") } else { self.variant.as_deref() }
    }
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Up {
    /// Where state, objects, logs and reports live.
    #[arg(long, default_value = ".assay")]
    pub(crate) data_dir: PathBuf,
    /// The coordinator's address on this machine, such as 127.0.0.1:7717; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7717", value_parser = loopback)]
    pub(crate) listen: SocketAddr,
    /// Threads of the engine; 0 takes one for each processor.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: u32,
    /// How long a lease lasts without a renewal.
    #[arg(long, default_value_t = 15_000)]
    pub(crate) lease_ms: u64,
    #[command(flatten)]
    pub(crate) operator: Operator,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) matrix: MatrixFile,
    /// Where state, objects, logs and reports live.
    #[arg(long, default_value = ".assay")]
    pub(crate) data_dir: PathBuf,
    /// Threads of the engine; 0 takes one for each processor.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: u32,
    /// How long a lease lasts without a renewal.
    #[arg(long, default_value_t = 15_000)]
    pub(crate) lease_ms: u64,
    /// Run every job, even those that an equal job has finished.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) matrix: MatrixFile,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// List every job, however many there are.
    #[arg(long)]
    pub(crate) jobs: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Submit {
    #[command(flatten)]
    pub(crate) matrix: MatrixFile,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Your own key of this submission: the same key and matrix again is the same submission.
    #[arg(long)]
    pub(crate) submit_key: Option<String>,
    /// Run every job, even those that an equal job has finished.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Follow it until it is finished, then print its report.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Submits the matrix again as the coordinator has stored it, under a new id; finished jobs are taken from it.
#[derive(Debug, ClapArgs)]
pub(crate) struct Retry {
    /// The matrix's id.
    pub(crate) matrix: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Your own key of the new submission: the same key again is the same submission.
    #[arg(long)]
    pub(crate) submit_key: Option<String>,
    /// Follow it until it is finished, then print its report.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Watch {
    /// The matrix's id.
    pub(crate) matrix: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print a JSON object for each change.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Status {
    /// The matrix's id; all matrices when left out.
    pub(crate) matrix: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Logs {
    /// A matrix's id, or a job's (MATRIX/NUMBER).
    pub(crate) what: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Only this attempt of each job, from 1; all of them when left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempt: Option<u32>,
    /// Go on with new lines.
    #[arg(long)]
    pub(crate) follow: bool,
    /// What trainings measured after each step, as JSON lines, of lost and failed attempts too.
    #[arg(long, conflicts_with = "follow")]
    pub(crate) metrics: bool,
    /// Print a JSON object for each line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// As far back as the coordinator's journal reaches; `status --json` has the attempts of every matrix for ever.
#[derive(Debug, ClapArgs)]
pub(crate) struct Events {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Only of this matrix.
    #[arg(long)]
    pub(crate) matrix: Option<String>,
    /// Only of this job (MATRIX/NUMBER).
    #[arg(long)]
    pub(crate) job: Option<String>,
    /// Only what this worker did or was given.
    #[arg(long)]
    pub(crate) worker: Option<String>,
    /// Only events of this kind, such as `job_leased`.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Only what happened at most so long ago, such as 90s, 10m, 2h or 7d.
    #[arg(long, value_name = "AGO", value_parser = crate::events::ago)]
    pub(crate) since: Option<u64>,
    /// The newest so many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
    /// Go on with new events.
    #[arg(long)]
    pub(crate) follow: bool,
    /// Print a JSON object for each event.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Cancel {
    /// A matrix's id, or a job's (MATRIX/NUMBER). Jobs that have a checkpoint of a cancelled training go on.
    pub(crate) what: String,
    /// Of a job: also all that needs it, directly or not.
    #[arg(long)]
    pub(crate) branch: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Export {
    /// A train job (MATRIX/NUMBER), or a matrix with one training.
    pub(crate) what: String,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The checkpoint's step; the end of training when left out.
    #[arg(long)]
    pub(crate) step: Option<u64>,
    /// Also write the model's weights with the adapter added, to `DIR/merged`.
    #[arg(long)]
    pub(crate) merged: bool,
    /// The element type of merged weights; that of the base model when left out.
    #[arg(long, requires = "merged", value_parser = ["f32", "bf16", "f16"])]
    pub(crate) dtype: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print what the model card says as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct OfMatrix {
    /// The matrix's id.
    pub(crate) matrix: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Explain {
    /// The job's id (MATRIX/NUMBER).
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FleetChange {
    /// Take a worker out: it gets no more jobs.
    Drain(Drain),
    /// Give a worker jobs again, after a drain or a quarantine.
    Lift(Lift),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Drain {
    /// The worker's id, as `assay fleet` shows it.
    pub(crate) worker: String,
    /// What becomes of the jobs it has.
    #[arg(long, value_enum, default_value_t = DrainMode::Finish)]
    pub(crate) mode: DrainMode,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum DrainMode {
    /// They run to their end.
    Finish,
    /// A training goes to another worker after its next checkpoint, anything else at once.
    Checkpoint,
    /// All go to other workers at once; a training goes on from its last checkpoint.
    Now,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Lift {
    /// The worker's id, as `assay fleet` shows it.
    pub(crate) worker: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Fleet {
    #[command(subcommand)]
    pub(crate) change: Option<FleetChange>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// Write a GGUF file as a Hugging Face folder.
    Import {
        /// The GGUF file.
        file: PathBuf,
        /// The folder to make.
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what a model folder holds.
    Info {
        /// The folder.
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Data {
    /// Show rows as they are trained on: rendered, cut, and with the trained text marked.
    Preview(Preview),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Preview {
    /// A matrix (.yaml), or a JSONL file of conversations.
    pub(crate) file: PathBuf,
    /// A model folder; with a matrix the name of one of its models, its first when left out.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// The name of one of the matrix's data sets, its first when left out.
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// The name of one of the matrix's recipes, its first when left out.
    #[arg(long)]
    pub(crate) recipe: Option<String>,
    /// A variant of the matrix, such as `full`.
    #[arg(long)]
    pub(crate) variant: Option<String>,
    /// Which tokens are trained on, when not what the recipe says: `all` or `assistant`.
    #[arg(long, value_parser = loss_on)]
    pub(crate) loss_on: Option<LossOn>,
    /// Tokens of a row that are kept, when not as many as the recipe says.
    #[arg(long, value_parser = clap::value_parser!(u32).range(8..))]
    pub(crate) max_length: Option<u32>,
    /// Rows that are shown; all are counted.
    #[arg(long, default_value_t = 3)]
    pub(crate) rows: usize,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn loss_on(text: &str) -> Result<LossOn, String> {
    match text {
        "all" => Ok(LossOn::All),
        "assistant" => Ok(LossOn::Assistant),
        _ => Err(String::from("all or assistant")),
    }
}

/// The rule is the coordinator's; here it is told before anything is started.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| String::from("write HOST:PORT, such as 127.0.0.1:7717"))?;
    if !address.ip().is_loopback() {
        return Err(String::from(
            "not a loopback address: without TLS and roles the coordinator listens on 127.0.0.1 or [::1] only; \
             reach it from elsewhere through an SSH tunnel",
        ));
    }
    Ok(address)
}
