//! The model that stays warm between jobs, with its tokenizer and template.

use std::path::Path;

use assay_model::decoder::Decoder;
use assay_model::device::{self, Device};
use assay_model::{FourBits, ModelError, Whole};
use assay_text::chat::{ChatTemplate, RenderOptions};
use assay_text::folder::ModelFolder;
use assay_text::tokenizer::Tokenizer;

use assay_domain::chain;
use assay_domain::job::{FailureClass, ModelSettings, Progress, Residual};

use crate::engine::context::{Context, Stop};

/// The last model used. A folder is recognised by its files: attempts get hard links of the same inodes.
pub(super) struct Warm {
    device: Device,
    kept: Option<(Kept, Loaded)>,
}

/// Which model is warm: its files, and how its matrices are held.
type Kept = (Vec<Inode>, Option<FourBits>);

/// What makes a file the same file, wherever it is linked.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Inode {
    device: u64,
    inode: u64,
    modified_ns: i64,
}

/// A model ready for work.
pub(super) struct Loaded {
    pub(super) decoder: Decoder,
    pub(super) tokenizer: Tokenizer,
    pub(super) template: ChatTemplate,
    pub(super) folder: ModelFolder,
}

impl Warm {
    pub(super) fn new(device: Device) -> Self {
        Self { device, kept: None }
    }

    /// Drops what is warm.
    pub(super) fn forget(&mut self) {
        self.kept = None;
    }

    /// The model of a folder, loaded unless it is warm, whose hidden states are in the type of its products.
    pub(super) fn get(
        &mut self,
        dir: &Path,
        bits: Option<FourBits>,
        context: &mut Context<'_>,
    ) -> Result<&Loaded, Stop> {
        self.get_with_residual(dir, bits, None, context)
    }

    /// The same for training, with hidden states as a recipe has them.
    pub(super) fn get_with_residual(
        &mut self,
        dir: &Path,
        bits: Option<FourBits>,
        residual: Option<Residual>,
        context: &mut Context<'_>,
    ) -> Result<&Loaded, Stop> {
        let wanted = (inodes(dir).map_err(|error| Stop::io(dir.display(), &error))?, bits);
        if self.kept.as_ref().is_none_or(|(known, _)| *known != wanted) {
            context.progress(Progress { phase: String::from("load"), ..Progress::default() })?;
            // Two models at once may not fit.
            self.kept = None;
            let (device, kind) = (self.device, device::weights_kind(self.device));
            let loaded = load(dir, || match bits {
                Some(bits) => Decoder::load_in_4_bits(dir, device, kind, bits),
                None => Decoder::load(dir, device, kind),
            })?;
            self.kept = Some((wanted, loaded));
        }
        context.phase("load");
        match &mut self.kept {
            Some((_, loaded)) => {
                let float32 = matches!(residual, Some(Residual::Float32));
                loaded.decoder.set_float32_residual(float32).map_err(stop)?;
                Ok(&*loaded)
            }
            None => {
                Err(Stop::Failed { class: FailureClass::Crashed, reason: String::from("no model was kept") })
            }
        }
    }

    /// A model of its own whose weights are to be trained; none stays warm beside it.
    pub(super) fn trainable(
        &mut self,
        dir: &Path,
        context: &mut Context<'_>,
    ) -> Result<(Loaded, Whole), Stop> {
        context.progress(Progress { phase: String::from("load"), ..Progress::default() })?;
        self.forget();
        let mut whole = None;
        let loaded = load(dir, || {
            let (decoder, weights) = Whole::load(dir, self.device)?;
            whole = Some(weights);
            Ok(decoder)
        })?;
        context.phase("load");
        let none =
            || Stop::Failed { class: FailureClass::Crashed, reason: String::from("no weights were loaded") };
        Ok((loaded, whole.ok_or_else(none)?))
    }

    pub(super) fn device(&self) -> Device {
        self.device
    }
}

fn load(dir: &Path, decoder: impl FnOnce() -> Result<Decoder, ModelError>) -> Result<Loaded, Stop> {
    let folder = ModelFolder::open(dir).map_err(|error| Stop::bad_input(&error))?;
    let tokenizer = folder.tokenizer().map_err(|error| Stop::bad_input(&error))?;
    let template = folder.template(&tokenizer).map_err(|error| Stop::bad_input(&error))?;
    let decoder = decoder().map_err(stop)?;
    Ok(Loaded { decoder, tokenizer, template, folder })
}

fn inodes(dir: &Path) -> std::io::Result<Vec<Inode>> {
    use std::os::unix::fs::MetadataExt as _;
    let mut inodes = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let metadata = std::fs::metadata(entry?.path())?;
        inodes.push(Inode {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified_ns: metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec()),
        });
    }
    inodes.sort();
    Ok(inodes)
}

/// How a job has its model's conversations rendered.
pub(super) fn render_options(settings: &ModelSettings) -> Result<RenderOptions, Stop> {
    RenderOptions::for_model(settings.date.as_deref(), settings.thinking)
        .map_err(|error| Stop::bad_input(&error))
}

/// A model error in the terms of what happens next.
pub(super) fn stop(error: ModelError) -> Stop {
    let class = match &error {
        ModelError::Cancelled => return Stop::Cancelled,
        ModelError::OutOfMemory(_) => FailureClass::OutOfMemory,
        ModelError::Torch(_) | ModelError::Device { .. } => FailureClass::Crashed,
        ModelError::Config(_)
        | ModelError::TensorFile(_)
        | ModelError::Shape { .. }
        | ModelError::ElementType { .. }
        | ModelError::Adapter { .. }
        | ModelError::Folder { .. }
        | ModelError::Setting { .. }
        | ModelError::Row { .. }
        | ModelError::Resume { .. }
        | ModelError::Reference { .. }
        | ModelError::NotFinite { .. }
        | ModelError::ValidationNotFinite { .. }
        | ModelError::NoNextToken { .. } => FailureClass::BadInput,
    };
    Stop::Failed { class, reason: chain(&error) }
}

/// Device, threads and LibTorch, for the report's reproducibility block.
pub(super) fn environment(device: Device) -> String {
    format!(
        "{}, {} threads, LibTorch {}",
        device::name(device),
        device::threads(),
        device::libtorch_version()
    )
}
