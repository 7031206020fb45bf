//! `assay judge`: how far judges are, asking what is missing, and judging by hand.

mod annotate;
pub(crate) mod people;
mod resume;
mod screen;
mod status;

use crate::args;

/// Runs the command.
pub(crate) async fn run(args: &args::Judge) -> anyhow::Result<()> {
    match args {
        args::Judge::Status(status) => status::run(status).await,
        args::Judge::Resume(resume) => resume::run(resume).await,
        args::Judge::Annotate(annotate) => annotate::run(annotate).await,
    }
}
