//! `assay submit` (upload what is missing, then hand the matrix over) and `assay retry`. What they answer is durable.

use std::collections::BTreeSet;
use std::sync::Mutex;

use assay_artifacts::{
    LocalFile, SignError, SignedRequest, SignedUpload, TransferLimits, Transfers, UploadSigner,
};
use assay_domain::ObjectKey;
use assay_proto::convert;
use assay_proto::v1::{
    PersonUpload, RetryRequest, SignUploadRequest, SubmitRequest, SubmitResponse, UploadFile,
    sign_upload_request,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::args;
use crate::connect::Coordinator;
use crate::exit::Failed;
use crate::print;
use crate::resolve::{Purpose, Resolved, resolve};
use crate::watch;

/// Files whose requests are asked for together.
const FILES_MAX: usize = 100;

/// What a submission became.
#[derive(Debug, Serialize)]
pub(crate) struct Submitted {
    pub(crate) matrix: String,
    pub(crate) jobs: u32,
    pub(crate) reused: u32,
    pub(crate) repeated: bool,
    /// Whether nothing was to be taken from earlier runs.
    pub(crate) fresh: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &args::Submit) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let resolved = resolve(&args.matrix, Purpose::Run)?;
    let submitted = submit(&coordinator, &resolved, args.submit_key.clone(), args.fresh).await?;
    tell(&coordinator, &submitted, &args.connection, args.wait, args.json).await
}

/// Submits again what a finished matrix lacks, perhaps with another budget of its panel.
pub(crate) async fn retry(args: &args::Retry, budget_usd: Option<f64>) -> anyhow::Result<()> {
    let coordinator = Coordinator::find(&args.connection)?;
    let submit_key = args.submit_key.clone().map_or_else(random_key, Ok)?;
    let request = RetryRequest { matrix_id: args.matrix.clone(), submit_key, budget_usd };
    let answer = coordinator.matrices().retry(request).await;
    let answer = answer.map_err(|status| coordinator.failed(&status))?.into_inner();
    tell(&coordinator, &submitted(answer, false), &args.connection, args.wait, args.json).await
}

async fn tell(
    coordinator: &Coordinator,
    submitted: &Submitted,
    connection: &args::Connection,
    wait: bool,
    json: bool,
) -> anyhow::Result<()> {
    if json && !wait {
        return print::json(submitted);
    }
    announce(submitted);
    if wait {
        return watch::to_report(coordinator, &submitted.matrix, &connection.data_dir, json).await;
    }
    print::line(&submitted.matrix);
    Ok(())
}

/// Says what a submission became.
pub(crate) fn announce(submitted: &Submitted) {
    let Submitted { matrix, jobs, reused, repeated, fresh } = submitted;
    let again = match (repeated, fresh) {
        (true, _) => ", submitted before",
        (false, true) => ", as --fresh asks",
        (false, false) => "",
    };
    print::say(format!("submitted {matrix}: {jobs} jobs, {reused} of them taken from earlier runs{again}"));
}

/// Uploads and submits.
pub(crate) async fn submit(
    coordinator: &Coordinator,
    resolved: &Resolved,
    submit_key: Option<String>,
    fresh: bool,
) -> anyhow::Result<Submitted> {
    upload(coordinator, &resolved.files).await?;
    let submit_key = submit_key.map_or_else(random_key, Ok)?;
    let request = SubmitRequest { submit_key, resolved_json: convert::to_json(&resolved.matrix), fresh };
    let answer = coordinator.matrices().submit(request).await;
    let answer = answer.map_err(|status| coordinator.failed(&status))?.into_inner();
    Ok(submitted(answer, fresh))
}

fn submitted(answer: SubmitResponse, fresh: bool) -> Submitted {
    let SubmitResponse { matrix_id: matrix, repeated, jobs, reused } = answer;
    Submitted { matrix, jobs, reused, repeated, fresh }
}

fn random_key() -> anyhow::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

async fn upload(coordinator: &Coordinator, files: &[LocalFile]) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    let files: Vec<LocalFile> = files.iter().filter(|file| seen.insert(file.digest)).cloned().collect();
    let bar = ProgressBar::new(files.iter().map(|file| file.bytes).sum());
    bar.set_style(ProgressStyle::with_template(
        "uploading {bytes}/{total_bytes} {wide_bar} {bytes_per_sec}",
    )?);
    let counted = bar.clone();
    let transfers = Transfers::new(TransferLimits::default())?.on_bytes(move |bytes| counted.inc(bytes));
    for part in files.chunks(FILES_MAX) {
        let signer = PersonSigner { coordinator, failed: Mutex::default() };
        if let Err(error) = transfers.upload(part, &signer).await {
            // What the coordinator said, or that it said nothing, has an exit code of its own.
            let failed = signer.failed.into_inner().ok().flatten();
            return Err(failed.map_or_else(|| error.into(), anyhow::Error::from));
        }
    }
    bar.finish_and_clear();
    Ok(())
}

struct PersonSigner<'a> {
    coordinator: &'a Coordinator,
    failed: Mutex<Option<Failed>>,
}

impl UploadSigner for PersonSigner<'_> {
    async fn sign_uploads(&self, files: &[LocalFile]) -> Result<Vec<SignedUpload>, SignError> {
        let file = |file: &LocalFile| UploadFile {
            path: file.path.clone(),
            bytes: file.bytes,
            sha256: file.digest.to_string(),
        };
        let request = SignUploadRequest {
            owner: Some(sign_upload_request::Owner::Upload(PersonUpload {})),
            files: files.iter().map(file).collect(),
        };
        let answer = self.coordinator.artifacts().sign_upload(request).await;
        if let Ok(mut failed) = self.failed.lock() {
            *failed = answer.as_ref().err().map(|status| self.coordinator.failed(status));
        }
        let answer = answer.map_err(|status| sign_error(&status))?.into_inner();
        answer.uploads.into_iter().map(signed_upload).collect()
    }
}

fn signed_upload(upload: assay_proto::v1::SignedUpload) -> Result<SignedUpload, SignError> {
    let wrong = |why: String| SignError { why, transient: false };
    let key = ObjectKey::parse(upload.key).map_err(|error| wrong(error.to_string()))?;
    let request = upload.request.filter(|_| !upload.exists).map(signed_request);
    Ok(SignedUpload { key, request })
}

/// A signed request in the words of the transfers.
pub(crate) fn signed_request(request: assay_proto::v1::SignedRequest) -> SignedRequest {
    let headers = request.headers.into_iter().collect();
    SignedRequest { method: request.method, url: request.url, headers, from_hub: request.from_hub }
}

/// A refusal to sign in the words of the transfers.
pub(crate) fn sign_error(status: &tonic::Status) -> SignError {
    let transient = matches!(status.code(), tonic::Code::Unavailable | tonic::Code::DeadlineExceeded);
    SignError { why: status.message().to_owned(), transient }
}
