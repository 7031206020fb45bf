//! Where models and data sets lie on this machine: in a folder beside the matrix, or fetched from the Hub at a pinned commit.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use assay_artifacts::SignedRequest;
use assay_artifacts::hub::{HUB_ENDPOINT, Hub, HubFile, HubKind, HubLimits, HubRepo, Listing, Snapshot};
use assay_domain::matrix::{DataSet, Model};
use assay_domain::{Digest, FileRef, ObjectKey, Origin};
use assay_text::folder::{FolderError, ModelFolder};

use crate::print;

/// The branch that is meant when none is named.
const MAIN: &str = "main";

/// A model's files: those in a folder here, and weights that stay on the Hub until a worker fetches them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelSource {
    pub(crate) folder: PathBuf,
    pub(crate) elsewhere: Vec<FileRef>,
}

impl ModelSource {
    /// Tokenizer, template and configuration, if the model is whole.
    pub(crate) fn open(&self) -> Result<ModelFolder, FolderError> {
        let elsewhere: Vec<&str> = self.elsewhere.iter().map(|file| file.path.as_str()).collect();
        ModelFolder::open_with(&self.folder, &elsewhere)
    }
}

impl From<PathBuf> for ModelSource {
    fn from(folder: PathBuf) -> Self {
        Self { folder, elsewhere: Vec::new() }
    }
}

/// Finds files, and keeps what it fetched in the cache until they were uploaded.
#[derive(Default)]
pub(crate) struct Sources {
    hub: Option<Hub>,
    held: Vec<Snapshot>,
}

impl Sources {
    /// The files of a model. A revision of the Hub becomes the commit that it is now.
    pub(crate) fn model(&mut self, base: &Path, model: &mut Model) -> anyhow::Result<ModelSource> {
        let Some(name) = &model.hub else {
            return Ok(base.join(model.path.as_deref().unwrap_or_default()).into());
        };
        let repo = HubRepo::new(HubKind::Model, name)?;
        let upload = model.upload;
        let fetch = |hub: &Hub, revision: &str| match upload {
            true => hub.model(&repo, revision),
            false => hub.model_without_weights(&repo, revision),
        };
        let snapshot = self.fetch(&repo, model.revision.as_deref(), fetch)?;
        model.revision = Some(snapshot.commit.clone());
        let weights = if upload { Vec::new() } else { snapshot.listing.weights_apart() };
        let elsewhere = weights.into_iter().map(|file| at_hub(&repo, &snapshot.listing, file));
        let elsewhere: Vec<FileRef> = elsewhere.collect::<anyhow::Result<_>>()?;
        let folder = snapshot.folder.clone();
        if !elsewhere.is_empty() {
            let bytes = print::count(elsewhere.iter().map(|file| file.bytes).sum());
            print::say(format!(
                "{}: workers fetch {bytes} bytes of weights from the Hub themselves",
                repo.name
            ));
        }
        Ok(ModelSource { folder, elsewhere })
    }

    /// The folder that `train` and `valid` of a data set are relative to.
    pub(crate) fn data(&mut self, base: &Path, set: &mut DataSet) -> anyhow::Result<PathBuf> {
        let Some(name) = &set.hub else { return Ok(base.to_owned()) };
        let repo = HubRepo::new(HubKind::DataSet, name)?;
        let paths: Vec<&str> =
            [Some(set.train.as_str()), set.valid.as_deref()].into_iter().flatten().collect();
        let snapshot =
            self.fetch(&repo, set.revision.as_deref(), |hub, revision| hub.files(&repo, revision, &paths))?;
        set.revision = Some(snapshot.commit.clone());
        Ok(snapshot.folder.clone())
    }

    fn fetch(
        &mut self,
        repo: &HubRepo,
        revision: Option<&str>,
        fetch: impl FnOnce(&Hub, &str) -> Result<Snapshot, assay_artifacts::hub::HubError>,
    ) -> anyhow::Result<&Snapshot> {
        let hub = match self.hub.take() {
            Some(hub) => self.hub.insert(hub),
            None => self.hub.insert(of_environment()?),
        };
        let revision = revision.unwrap_or(MAIN);
        print::say(format!("{}@{revision}: looking at the Hub and its cache", repo.name));
        let snapshot = fetch(hub, revision)?;
        let fetched = match snapshot.fetched_bytes {
            0 => String::from("all there"),
            bytes => format!("{} bytes fetched", print::count(bytes)),
        };
        print::say(format!("{}@{}: {fetched}", repo.name, snapshot.commit));
        self.held.push(snapshot);
        self.held.last().context("nothing was fetched")
    }
}

/// A file of a model that stays on the Hub: known by the digest that the Hub lists.
fn at_hub(repo: &HubRepo, listing: &Listing, file: &HubFile) -> anyhow::Result<FileRef> {
    let digest: Digest = file.sha256.as_deref().unwrap_or_default().parse()?;
    let origin = Origin::new(&repo.name, &listing.commit, &file.path, listing.needs_token)?;
    let (path, key) = (file.path.clone(), ObjectKey::upload(digest));
    Ok(FileRef { path, key, digest, bytes: file.bytes, origin: Some(origin) })
}

/// The right to fetch a file of the Hub, as the environment says.
pub(crate) fn signed(origin: &Origin) -> SignedRequest {
    SignedRequest::of_hub(origin, &endpoint(), variable("HF_TOKEN").as_deref())
}

fn endpoint() -> String {
    variable("HF_ENDPOINT").unwrap_or_else(|| HUB_ENDPOINT.to_owned())
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A client as the environment says: `HF_ENDPOINT`, `HF_TOKEN`, `ASSAY_HUB_CACHE`, `ASSAY_HUB_CACHE_BYTES`.
fn of_environment() -> anyhow::Result<Hub> {
    let folder = match (variable("ASSAY_HUB_CACHE"), variable("XDG_CACHE_HOME"), variable("HOME")) {
        (Some(folder), ..) => PathBuf::from(folder),
        (None, Some(cache), _) => Path::new(&cache).join("assay/hub"),
        (None, None, Some(home)) => Path::new(&home).join(".cache/assay/hub"),
        (None, None, None) => anyhow::bail!("no place for files of the Hub: set ASSAY_HUB_CACHE to a folder"),
    };
    let mut limits = HubLimits::default();
    if let Some(bytes) = variable("ASSAY_HUB_CACHE_BYTES") {
        limits.cache_bytes_max = bytes
            .parse()
            .with_context(|| format!("ASSAY_HUB_CACHE_BYTES is `{bytes}`, not a number of bytes"))?;
    }
    Ok(Hub::new(&endpoint(), variable("HF_TOKEN"), folder, limits))
}
