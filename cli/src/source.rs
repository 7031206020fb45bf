//! Where models and data sets lie on this machine: in a folder beside the matrix, or fetched from the Hub at a pinned commit.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use assay_artifacts::hub::{HUB_ENDPOINT, Hub, HubKind, HubLimits, HubRepo, Snapshot};
use assay_domain::matrix::{DataSet, Model};

use crate::print;

/// The branch that is meant when none is named.
const MAIN: &str = "main";

/// Finds files, and keeps what it fetched in the cache until they were uploaded.
#[derive(Default)]
pub(crate) struct Sources {
    hub: Option<Hub>,
    held: Vec<Snapshot>,
}

impl Sources {
    /// The folder of a model. A revision of the Hub becomes the commit that it is now.
    pub(crate) fn model(&mut self, base: &Path, model: &mut Model) -> anyhow::Result<PathBuf> {
        let Some(name) = &model.hub else {
            return Ok(base.join(model.path.as_deref().unwrap_or_default()));
        };
        let repo = HubRepo::new(HubKind::Model, name)?;
        let snapshot =
            self.fetch(&repo, model.revision.as_deref(), |hub, revision| hub.model(&repo, revision))?;
        model.revision = Some(snapshot.commit.clone());
        Ok(snapshot.folder.clone())
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

/// A client as the environment says: `HF_ENDPOINT`, `HF_TOKEN`, `ASSAY_HUB_CACHE`, `ASSAY_HUB_CACHE_BYTES`.
fn of_environment() -> anyhow::Result<Hub> {
    let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| HUB_ENDPOINT.to_owned());
    let folder = match (text("ASSAY_HUB_CACHE"), text("XDG_CACHE_HOME"), text("HOME")) {
        (Some(folder), ..) => PathBuf::from(folder),
        (None, Some(cache), _) => Path::new(&cache).join("assay/hub"),
        (None, None, Some(home)) => Path::new(&home).join(".cache/assay/hub"),
        (None, None, None) => anyhow::bail!("no place for files of the Hub: set ASSAY_HUB_CACHE to a folder"),
    };
    let mut limits = HubLimits::default();
    if let Some(bytes) = text("ASSAY_HUB_CACHE_BYTES") {
        limits.cache_bytes_max = bytes
            .parse()
            .with_context(|| format!("ASSAY_HUB_CACHE_BYTES is `{bytes}`, not a number of bytes"))?;
    }
    Ok(Hub::new(&endpoint, text("HF_TOKEN"), folder, limits))
}
