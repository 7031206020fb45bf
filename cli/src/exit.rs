//! How the command ends: exit codes, and the errors that have one of their own. `docs/exit-codes.md` is for people.

use std::process::ExitCode;

/// Why the command ends with another code than 0.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// The matrix ended with jobs that did not succeed.
    #[error("{0}")]
    Matrix(String),
    /// What was given is wrong; nothing has happened.
    #[error("{0}")]
    Input(String),
    /// No coordinator answers.
    #[error("{0}")]
    Unreachable(String),
    /// The coordinator said no.
    #[error("{0}")]
    Refused(String),
    /// A person interrupted it.
    #[error("interrupted")]
    Interrupted,
}

impl Failed {
    fn code(&self) -> u8 {
        match self {
            Self::Matrix(_) => 1,
            Self::Input(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Refused(_) => 4,
            Self::Interrupted => 130,
        }
    }

    /// An answer of the coordinator that is an error.
    pub(crate) fn status(address: &str, status: &tonic::Status) -> Self {
        use tonic::Code;
        let (code, message) = (status.code(), status.message());
        if matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled) {
            return Self::Unreachable(format!(
                "no coordinator answers at {address}: start one with `assay up` ({message})"
            ));
        }
        if code == Code::Unauthenticated {
            return Self::Refused(format!(
                "the coordinator at {address} refuses the token: use the token file of its data folder ({message})"
            ));
        }
        Self::Refused(message.to_owned())
    }
}

/// The code of an error: its own, or 2 for all that went wrong before anything happened.
pub(crate) fn code_of(error: &anyhow::Error) -> ExitCode {
    let code = error.chain().find_map(|cause| cause.downcast_ref::<Failed>()).map_or(2, Failed::code);
    ExitCode::from(code)
}
