//! `assay export`: what a finished training made as others load it: a PEFT folder with a model card, merged weights where asked,
//! or a model folder where all weights were trained, and nothing before a check that what is written computes what was trained.

mod card;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use assay_artifacts::{Cache, TransferLimits, Transfers};
use assay_domain::job::{Method, PlannedJob, TrainSpec, Work};
use assay_domain::matrix::ResolvedMatrix;
use assay_domain::{Artifact, plan};
use assay_proto::v1::{GetMatrixRequest, JobView, MatrixView};
use serde_json::{Value, json};

use crate::connect::Coordinator;
use crate::exit::Failed;
use crate::{args, fetch, print, view};
use card::Card;

/// Beside the adapter: all of the card in a form for programs.
const RECORD_FILE: &str = "assay.json";
const CARD_FILE: &str = "README.md";
const CONFIG_FILE: &str = "adapter_config.json";
const MERGED: &str = "merged";

/// Runs the command.
pub(crate) async fn run(args: &args::Export) -> anyhow::Result<()> {
    if args.out.exists() {
        let why = format!("{} exists: name a folder that does not", args.out.display());
        return Err(Failed::Input(why).into());
    }
    let coordinator = Coordinator::find(&args.connection)?;
    let matrix_id = args.what.split('/').next().unwrap_or_default().to_owned();
    let answer = coordinator.matrices().get(GetMatrixRequest { matrix_id }).await;
    let matrix =
        answer.map_err(|status| coordinator.failed(&status))?.into_inner().matrix.unwrap_or_default();
    let resolved: ResolvedMatrix = serde_json::from_str(&matrix.resolved_json)
        .context("the matrix was submitted by another version of assay")?;
    let training = Training::find(&matrix, &resolved, &args.what, args.step)?;
    if args.merged && training.spec.recipe.method == Method::Full {
        let why = format!(
            "{} trained all weights: leave out --merged, they are what is exported",
            training.job.job_id
        );
        return Err(Failed::Input(why).into());
    }

    let parent = args.out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    let staging = tempfile::Builder::new().prefix(".assay-export-").tempdir_in(parent)?;
    let card = write(&coordinator, &training, &resolved, staging.path(), args).await?;
    let done = staging.path().join("out");
    fs::rename(&done, &args.out).with_context(|| args.out.display().to_string())?;
    match args.json {
        true => print::json(&card)?,
        false => print::line(format!("{}: {}", args.out.display(), card.summary())),
    }
    Ok(())
}

/// A training, its job, and which checkpoint.
struct Training<'a> {
    job: &'a JobView,
    spec: TrainSpec,
    step: u64,
}

impl<'a> Training<'a> {
    fn find(
        matrix: &'a MatrixView,
        resolved: &ResolvedMatrix,
        what: &str,
        step: Option<u64>,
    ) -> anyhow::Result<Self> {
        let trainings: Vec<&JobView> = matrix.jobs.iter().filter(|job| job.kind == "train").collect();
        let named: Vec<&JobView> =
            trainings.iter().copied().filter(|job| !what.contains('/') || job.job_id == what).collect();
        let [job] = named.as_slice() else {
            let list = |job: &&JobView| format!("{} {}", job.job_id, job.label);
            let list = trainings.iter().map(list).collect::<Vec<_>>().join(", ");
            return Err(Failed::Input(format!("`{what}` is not one training; name one of: {list}")).into());
        };
        // The plan follows from the matrix; the keys tell whether this version makes the same one.
        let planned = plan::plan(resolved).map_err(|errors| {
            let first = errors.first().map(ToString::to_string).unwrap_or_default();
            Failed::Input(format!("the matrix does not plan in this version of assay: {first}"))
        })?;
        let same = |planned: &&PlannedJob| planned.key.to_string() == job.job_key;
        let Some(Work::Train(spec)) = planned.iter().find(same).map(|planned| &planned.work) else {
            let why = format!("{} was planned by another version of assay: export with that one", job.job_id);
            return Err(Failed::Input(why).into());
        };
        if !view::is_good_end(&job.status) {
            return Err(Failed::Matrix(format!(
                "{} is {}: only finished trainings are exported",
                job.job_id, job.status
            ))
            .into());
        }
        let step = step.unwrap_or(spec.total_steps);
        if !spec.checkpoints.contains(&step) {
            let why =
                format!("{} kept no adapter after step {step}; it kept {:?}", job.job_id, spec.checkpoints);
            return Err(Failed::Input(why).into());
        }
        Ok(Self { job, spec: spec.clone(), step })
    }

    fn output(&self, name: &str) -> anyhow::Result<Artifact> {
        let found = view::outputs(self.job).into_iter().find(|artifact| artifact.name == name);
        Ok(found.ok_or_else(|| Failed::Matrix(format!("{} has no output `{name}`", self.job.job_id)))?)
    }
}

/// Fills `staging/out`.
async fn write(
    coordinator: &Coordinator,
    training: &Training<'_>,
    resolved: &ResolvedMatrix,
    staging: &Path,
    args: &args::Export,
) -> anyhow::Result<Card> {
    let spec = &training.spec;
    let facts = resolved.models.get(&spec.model).context("the matrix does not know its model")?;
    let adapter = training.output(&Artifact::adapter_name(training.step))?;
    let metrics = fetch::text(coordinator, &training.output("metrics")?).await?;
    print::say("fetching adapter and model");
    let trained = folder(coordinator, &adapter, staging, "trained").await?;
    let model = folder(coordinator, &facts.artifact, staging, "model").await?;
    let out = staging.join("out");
    fs::create_dir(&out)?;
    for file in fs::read_dir(&trained)? {
        let file = file?;
        // Read and written: the cache's files are read-only, and these are the person's.
        fs::write(out.join(file.file_name()), fs::read(file.path())?)?;
    }
    if spec.recipe.method == Method::Lora {
        name_the_base(&out.join(CONFIG_FILE), spec)?;
    }
    print::say(if args.merged { "merging and checking" } else { "checking" });
    let merged = args.merged.then(|| out.join(MERGED));
    let check = check(&model, &trained, &out, merged.as_deref(), args.dtype.as_deref()).await?;
    let data = resolved.data.get(&spec.data).context("the matrix does not know its data set")?;
    let card = Card::of(spec, training.step, training.job, &adapter, facts, data, &metrics, check)?;
    for folder in [Some(&out), merged.as_ref()].into_iter().flatten() {
        fs::write(folder.join(CARD_FILE), card.markdown(folder != &out))?;
        fs::write(folder.join(RECORD_FILE), serde_json::to_string_pretty(&card)? + "\n")?;
    }
    Ok(card)
}

async fn folder(
    coordinator: &Coordinator,
    artifact: &Artifact,
    staging: &Path,
    name: &str,
) -> anyhow::Result<PathBuf> {
    let cache = Cache::open(staging.join(format!("{name}-objects")), artifact.bytes().max(1))?;
    let transfers = Transfers::new(TransferLimits::default())?;
    let into = staging.join(name);
    Ok(cache.fetch(&transfers, artifact, &into, &fetch::Signer { coordinator }).await?)
}

/// PEFT and vLLM look for the base under the name in the adapter's configuration: a repository of the Hub at its commit.
fn name_the_base(path: &Path, spec: &TrainSpec) -> anyhow::Result<()> {
    let mut config: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    if let Some(hub) = &spec.model_settings.hub {
        config["base_model_name_or_path"] = json!(hub.repo);
        config["revision"] = json!(hub.commit);
    }
    Ok(fs::write(path, format!("{config:#}\n"))?)
}

/// Has the worker's engine merge and check: this program has no tensors.
async fn check(
    model: &Path,
    trained: &Path,
    adapter: &Path,
    merged: Option<&Path>,
    dtype: Option<&str>,
) -> anyhow::Result<Value> {
    let program = std::env::current_exe()?.with_file_name("assay-worker");
    let mut command = tokio::process::Command::new(&program);
    command.arg("export").arg(model).arg("--trained").arg(trained).arg("--adapter").arg(adapter);
    if let Some(merged) = merged {
        command.arg("--merged").arg(merged);
    }
    if let Some(dtype) = dtype {
        command.args(["--dtype", dtype]);
    }
    let output = command.kill_on_drop(true).output().await.with_context(|| {
        format!("`{}` cannot be started: build or install all binaries of assay together", program.display())
    })?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let why = format!("the export is not what was trained, and nothing was written: {}", told.trim());
        return Err(Failed::Matrix(why).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
