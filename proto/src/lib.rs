//! The wire contract. Generated types stop at [`convert`]: past it only domain types are spoken.

pub mod client;
pub mod convert;
pub mod status;

#[expect(
    missing_docs,
    clippy::allow_attributes_without_reason,
    clippy::default_trait_access,
    reason = "generated code; the .proto files hold the documentation"
)]
/// Generated from `src/assay/v1/*.proto`.
pub mod v1 {
    tonic::include_proto!("assay.v1");
}

/// The descriptors of all services, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The protocol version that this build speaks.
pub const PROTOCOL: u32 = v1::Protocol::V1 as u32;

/// The largest `resolved_json` of a submission, in bytes.
pub const RESOLVED_BYTES_MAX: usize = 4 << 20;

/// The largest gRPC message that either side decodes, in bytes: a resolved matrix and its plan as a view.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
