//! The command line of `assay-worker`.

use std::path::PathBuf;

use assay_agent::shell::{Connection, Life};
use assay_domain::DeviceKind;
use assay_model::export::Stored;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// Runs train, generate and score jobs on one device.
#[derive(Debug, Parser)]
#[command(name = "assay-worker", version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register with a coordinator and run its jobs until told to stop.
    Agent(Agent),
    /// The process that computes; started by the agent.
    #[command(hide = true)]
    Engine(Engine),
    /// Compare the engine with golden values of Transformers and PEFT; exit 0 within the tolerances.
    Check(Check),
    /// Compare a training run with a trace of TRL, step by step; exit 0 within the tolerances.
    CheckTrl(CheckTrl),
    /// Write merged weights, and check what `assay export` is about to hand out; prints one JSON line.
    #[command(hide = true)]
    Export(Export),
    /// Time training; prints one JSON line.
    #[command(hide = true)]
    BenchTrain(BenchTrain),
    /// Time generation; prints one JSON line.
    #[command(hide = true)]
    BenchGenerate(BenchGenerate),
}

/// The devices that can be asked for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Device {
    /// The processor.
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
    /// The Apple GPU.
    Mps,
}

impl Device {
    /// The name that the engine knows it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Mps => "mps",
        }
    }
}

impl From<Device> for DeviceKind {
    fn from(device: Device) -> Self {
        match device {
            Device::Cpu => Self::Cpu,
            Device::Cuda => Self::Cuda,
            Device::Mps => Self::Mps,
        }
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Agent {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) life: Life,
    /// Where the engine computes.
    #[arg(long, value_enum, default_value = "cpu")]
    pub(crate) device: Device,
    /// Threads of the engine; 0 takes one for each processor.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: u32,
    /// MiB of its own that the engine may use on a processor before a job that needs more fails or trains in smaller
    /// passes; 0 takes what the machine or its control group has.
    #[arg(long, default_value_t = 0)]
    pub(crate) memory_limit_mib: u64,
    /// Folder for the cache and for attempts; default: `worker` in the data folder.
    #[arg(long)]
    pub(crate) work_dir: Option<PathBuf>,
    /// Bytes that the cache of inputs may take before the least recently used go.
    #[arg(long, default_value_t = 20 << 30)]
    pub(crate) cache_bytes_max: u64,
    /// Generate jobs of the same base model and sampling that may answer in one batch when all are ready at once; 1: each alone.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) jobs_per_batch: u32,
    /// Answers that are generated at once; 0 takes 16 on a processor, and on a GPU as many as its free memory has room for.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=4096))]
    pub(crate) rows_at_once: u32,
    /// Seconds without a sign of progress after which the engine is killed and the attempt fails as stalled.
    #[arg(long, default_value_t = 600)]
    pub(crate) stall_s: u64,
    /// What an hour of this machine costs, USD: budgets and the report's cost table count it.
    #[arg(long, env = "ASSAY_USD_PER_HOUR", value_parser = usd)]
    pub(crate) usd_per_hour: Option<f64>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Engine {
    /// Where to compute.
    #[arg(long, value_enum)]
    pub(crate) device: Device,
    /// As for the agent.
    #[arg(long, default_value_t = 0)]
    pub(crate) memory_limit_mib: u64,
    /// As for the agent.
    #[arg(long, default_value_t = 0)]
    pub(crate) rows_at_once: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Check {
    /// A folder with config.json, model.safetensors, adapter/, golden.json and golden.safetensors.
    pub(crate) dir: PathBuf,
    /// Print the differences as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to compute.
    #[arg(long, value_enum, default_value = "cpu")]
    pub(crate) device: Device,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct CheckTrl {
    /// A folder with trace.json, adapter_initial/ and adapter_trained/.
    pub(crate) dir: PathBuf,
    /// The model's folder.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The conversations that were trained on: their token ids are compared too.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// Print the differences as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to compute.
    #[arg(long, value_enum, default_value = "cpu")]
    pub(crate) device: Device,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Export {
    /// The base model's folder.
    pub(crate) model: PathBuf,
    /// The adapter as it was trained, or the model where all weights were.
    #[arg(long)]
    pub(crate) trained: PathBuf,
    /// The same as it is handed out.
    #[arg(long)]
    pub(crate) adapter: PathBuf,
    /// The folder for merged weights, with the model's other files.
    #[arg(long)]
    pub(crate) merged: Option<PathBuf>,
    /// The element type of merged weights, `f32`, `bf16` or `f16`; that of the base model when left out.
    #[arg(long, requires = "merged", value_parser = stored)]
    pub(crate) dtype: Option<Stored>,
    /// Where to compute.
    #[arg(long, value_enum, default_value = "cpu")]
    pub(crate) device: Device,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct BenchTrain {
    /// The model's folder.
    pub(crate) model: PathBuf,
    /// Conversations, JSON lines; with `--random-weights` a JSON list of row lengths.
    pub(crate) train: PathBuf,
    /// The folder holds a `config.json` only: weights are drawn on the device, rows are random tokens.
    #[arg(long)]
    pub(crate) random_weights: bool,
    /// Rows used.
    #[arg(long, default_value_t = 32)]
    pub(crate) examples: u32,
    /// Passes over the rows.
    #[arg(long, default_value_t = 1)]
    pub(crate) epochs: u32,
    /// Holds the base model's matrices in 4 bits; not for random weights.
    #[arg(long, conflicts_with = "random_weights")]
    pub(crate) nf4: bool,
    /// Computes attention row by row where the device could take all rows of a pass in one call.
    #[arg(long)]
    pub(crate) row_by_row: bool,
    /// LoRA rank; alpha is twice the rank.
    #[arg(long, default_value_t = 16)]
    pub(crate) rank: u32,
    /// Rows in one forward pass.
    #[arg(long, default_value_t = 2)]
    pub(crate) micro_batch: u32,
    /// Micro-batches in a step.
    #[arg(long, default_value_t = 4)]
    pub(crate) accumulate: u32,
    /// Tokens of a row that are kept.
    #[arg(long, default_value_t = 512)]
    pub(crate) max_length: u32,
    /// Where to compute.
    #[arg(long, value_enum, default_value = "cpu")]
    pub(crate) device: Device,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct BenchGenerate {
    /// The model's folder.
    pub(crate) model: PathBuf,
    /// Prompts, JSON lines; with `--random-weights` they are 32 random tokens each, and this is not read.
    pub(crate) prompts: PathBuf,
    /// The folder holds a `config.json` only: weights and adapter are drawn on the device.
    #[arg(long)]
    pub(crate) random_weights: bool,
    /// Prompts used.
    #[arg(long = "prompts", default_value_t = 12)]
    pub(crate) count: u32,
    /// Tokens of each response: every row runs to the limit.
    #[arg(long, default_value_t = 96)]
    pub(crate) max_new_tokens: u32,
    /// Rows decoded together.
    #[arg(long, default_value_t = 12)]
    pub(crate) batch: u32,
    /// A PEFT adapter, which answers instead of the base model.
    #[arg(long)]
    pub(crate) adapter: Option<PathBuf>,
    /// Base model and adapter both answer every prompt, in one batch of `--batch` rows.
    #[arg(long)]
    pub(crate) mixed: bool,
    /// Where to compute.
    #[arg(long, value_enum, default_value = "cpu")]
    pub(crate) device: Device,
}

fn stored(text: &str) -> Result<Stored, String> {
    Stored::from_name(text).ok_or_else(|| String::from("one of f32, bf16 and f16"))
}

fn usd(text: &str) -> Result<f64, String> {
    let usd: Option<f64> = text.parse().ok().filter(|usd: &f64| usd.is_finite() && *usd >= 0.0);
    usd.ok_or_else(|| String::from("a number of USD, 0 or more"))
}
