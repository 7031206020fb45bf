//! Names of things: each its own type, each with a readable text form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// One submitted matrix, such as `m-4k2j9x0c7q1f`.
    MatrixId
);
text_id!(
    /// A worker process for as long as it lives; chosen by the worker.
    WorkerId
);
text_id!(
    /// A client's own key of a submission: the same key and matrix is the same submission.
    SubmitKey
);

impl MatrixId {
    /// A new id from 8 random bytes that the caller drew.
    pub fn from_random(bytes: [u8; 8]) -> Self {
        Self(format!("m-{}", hex::encode(&bytes[..6])))
    }

    /// The 16 bytes of the OpenTelemetry trace id that all processes derive for this matrix.
    pub fn trace_id(&self) -> [u8; 16] {
        let digest = Digest::of(self.0.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&digest.as_bytes()[..16]);
        id
    }

    /// The 8 bytes of the root span's id, derived like the trace id.
    pub fn root_span_id(&self) -> [u8; 8] {
        let digest = Digest::of(self.0.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&digest.as_bytes()[16..24]);
        id
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// The cluster's epoch: raised durably at every restore, so that workers of an older history are fenced off.
    Epoch(u64)
);
number_id!(
    /// The number of an execution of a job, from 1.
    Attempt(u32)
);
number_id!(
    /// Wall-clock time, milliseconds since 1970: for people and reports, never for deciding about leases.
    UnixMillis(u64)
);

/// A job: its matrix and its place in the plan.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId {
    /// The matrix.
    pub matrix: MatrixId,
    /// The place in the plan, from 0.
    pub ordinal: u32,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.matrix, self.ordinal)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a job id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a job id: write MATRIX/NUMBER, as `assay status` shows it")]
pub struct BadJobId {
    /// What was given.
    pub given: String,
}

impl FromStr for JobId {
    type Err = BadJobId;

    fn from_str(text: &str) -> Result<Self, BadJobId> {
        let bad = || BadJobId { given: text.to_owned() };
        let (matrix, ordinal) = text.rsplit_once('/').ok_or_else(bad)?;
        let ordinal = ordinal.parse().map_err(|_| bad())?;
        Ok(Self { matrix: MatrixId::new(matrix), ordinal })
    }
}

impl TryFrom<String> for JobId {
    type Error = BadJobId;

    fn try_from(text: String) -> Result<Self, BadJobId> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.to_string()
    }
}

/// The fencing token of an attempt; greater tokens are newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence {
    /// The epoch in which the lease was given.
    pub epoch: Epoch,
    /// The attempt.
    pub attempt: Attempt,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}-a{}", self.epoch, self.attempt)
    }
}

/// A worker's right to one attempt: everything a worker says names one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// Its fencing token.
    pub fence: Fence,
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.job, self.fence)
    }
}

/// What makes two jobs the same job: the digest of kind, result version, inputs and settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobKey(pub Digest);

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
