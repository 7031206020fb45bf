//! What agent and engine say to each other: versioned, length-limited frames over an inherited socket pair.
//!
//! A frame is 4 bytes of length (little endian) and that many bytes of JSON. The first frame each way is a greeting with the
//! version; the two sides are the same binary, so a difference means that the file was replaced under a running agent.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use assay_domain::Digest;
use assay_domain::job::{FailureClass, GenerateSpec, Progress, ScoreSpec, TrainSpec, Usage};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Raised with every change of a frame.
pub(crate) const FRAMES_VERSION: u32 = 4;

/// The longest frame; a longer one is a bug or a damaged stream, never data.
pub(crate) const FRAME_BYTES_MAX: usize = 4 << 20;

/// From the agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// The first frame.
    Hello { version: u32 },
    /// Does one job; a second one while it runs is a bug.
    Run(Box<EngineJob>),
    /// A training saves a checkpoint after its next step; other jobs do not mind.
    Save,
    /// Stops the running job between two steps.
    Cancel,
}

/// From the engine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// The first frame: the device is open.
    Hello { version: u32, device: String, memory_mib: u64 },
    /// How far the job is.
    Progress(Progress),
    /// A line for the attempt's log.
    Log(String),
    /// A line for the attempt's metrics.
    Metric(String),
    /// Both folders are complete on disk.
    Checkpoint { step: u64, adapter: PathBuf, resume: PathBuf },
    /// The job is done: of each part that it had, what it made.
    Done(Vec<Done>),
    /// The job is not done.
    Failed { class: FailureClass, reason: String },
    /// The job was cancelled between two steps.
    Cancelled,
}

/// What a job made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// (artifact, local file or folder).
    pub(crate) outputs: Vec<(String, PathBuf)>,
    /// What it used.
    pub(crate) usage: Usage,
}

/// One generate job of a batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GeneratePart {
    pub(crate) spec: GenerateSpec,
    pub(crate) model: PathBuf,
    pub(crate) prompts: PathBuf,
    pub(crate) adapter: Option<PathBuf>,
    pub(crate) out: PathBuf,
}

/// A job with everything on local disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum EngineJob {
    /// Training.
    Train {
        spec: TrainSpec,
        model: PathBuf,
        train: PathBuf,
        valid: Option<PathBuf>,
        resume: Option<PathBuf>,
        out: PathBuf,
    },
    /// Generation of one or several jobs in one batch: all with the same base model and [`GenerateSpec::shares_batch_with`].
    Generate(Vec<GeneratePart>),
    /// Scoring. The secret is the matrix's; `model_digest` names the judge in its verdicts.
    Score {
        spec: ScoreSpec,
        model: PathBuf,
        model_digest: Digest,
        base: PathBuf,
        tuned: PathBuf,
        secret: Digest,
        out: PathBuf,
    },
}

/// Writes one frame and flushes it.
pub(crate) fn write<T: Serialize>(stream: &mut impl Write, frame: &T) -> io::Result<()> {
    let body = serde_json::to_vec(frame)?;
    if body.len() > FRAME_BYTES_MAX {
        return Err(io::Error::other(format!("frame of {} bytes: {FRAME_BYTES_MAX} at most", body.len())));
    }
    stream.write_all(&(body.len() as u32).to_le_bytes())?;
    stream.write_all(&body)?;
    stream.flush()
}

/// Reads one frame; `None` when the other side has closed.
pub(crate) fn read<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other(format!("frame of {length} bytes: {FRAME_BYTES_MAX} at most")));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_end_of_file_is_none() {
        let mut bytes = Vec::new();
        write(&mut bytes, &Message::Log(String::from("loss 2.5"))).unwrap();
        write(&mut bytes, &Message::Cancelled).unwrap();
        let mut stream = bytes.as_slice();
        assert!(matches!(read(&mut stream).unwrap(), Some(Message::Log(line)) if line == "loss 2.5"));
        assert!(matches!(read(&mut stream).unwrap(), Some(Message::Cancelled)));
        assert!(read::<Message>(&mut stream).unwrap().is_none());
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_memory_is_taken() {
        let mut bytes = u32::MAX.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"{}");
        assert!(read::<Message>(&mut bytes.as_slice()).unwrap_err().to_string().contains("at most"));
    }

    #[test]
    fn a_cut_frame_is_an_error() {
        let mut bytes = Vec::new();
        write(&mut bytes, &Message::Cancelled).unwrap();
        bytes.pop();
        assert!(read::<Message>(&mut bytes.as_slice()).is_err());
    }
}
