//! `export`: writes merged weights and checks what is about to be handed out.

use assay_model::device;
use assay_model::export::{self, Stored};
use assay_model::lora;
use assay_text::folder::ModelFolder;

use crate::{args, openmp, print};

/// Merges where asked, checks, and prints what the check found.
pub(crate) fn run(args: &args::Export) -> anyhow::Result<()> {
    openmp::settle()?;
    let device = device::open(args.device.name())?;
    if !lora::is_adapter(&args.trained) {
        let found = export::check_whole(&args.model, &args.trained, &args.adapter, device)?;
        print::line(serde_json::to_string(&found)?);
        return Ok(());
    }
    if let Some(out) = &args.merged {
        let folder = ModelFolder::open(&args.model)?;
        std::fs::create_dir_all(out)?;
        // Weights are last: a folder that has them is whole.
        for file in std::fs::read_dir(folder.path())? {
            let file = file?;
            let name = file.file_name();
            let path = std::path::Path::new(&name);
            if path.extension().is_some_and(|extension| extension == "json" || extension == "jinja") {
                std::fs::write(out.join(path), std::fs::read(file.path())?)?;
            }
        }
        export::merge(&args.model, &args.trained, out, args.dtype.unwrap_or(Stored::AsBase))?;
    }
    let found = export::check(&args.model, &args.trained, &args.adapter, args.merged.as_deref(), device)?;
    print::line(serde_json::to_string(&found)?);
    Ok(())
}
