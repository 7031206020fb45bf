//! Signed requests for objects. Bytes never pass through gRPC.

use std::collections::HashMap;
use std::net::SocketAddr;

use assay_domain::segment::Lines;
use assay_domain::{Digest, FileRef, Lease, ObjectKey, UnixMillis};
use assay_proto::convert::{self, BadMessage};
use assay_proto::v1;
use tokio::task::JoinError;
use tonic::{Request, Response, Status};

use super::{internal, rejected};
use crate::config::Limits;
use crate::engine::Handle;
use crate::engine::command::Command;
use crate::hub::HubAccess;
use crate::objects::http::Endpoint;
use crate::objects::local::{self, ObjectError};
use crate::objects::signature::Permit;

/// The service.
#[derive(Debug)]
pub(crate) struct ArtifactsService {
    pub(crate) engine: Handle,
    pub(crate) limits: Limits,
    pub(crate) endpoint: Endpoint,
    /// Where clients reach `/objects`.
    pub(crate) address: SocketAddr,
    pub(crate) hub: HubAccess,
}

/// For whom an upload is.
enum Owner {
    Attempt { lease: Lease, artifact: String },
    Person,
}

#[tonic::async_trait]
impl v1::artifacts_server::Artifacts for ArtifactsService {
    async fn sign_upload(
        &self,
        request: Request<v1::SignUploadRequest>,
    ) -> Result<Response<v1::SignUploadResponse>, Status> {
        let request = request.into_inner();
        self.check_count("files", request.files.len())?;
        let owner = match request.owner.ok_or(BadMessage::Missing { field: "owner" })? {
            v1::sign_upload_request::Owner::Output(output) => {
                let lease = convert::lease_of(&output.job_id, output.epoch, output.attempt)?;
                let artifact = output.artifact;
                let may =
                    |reply| Command::MayUpload { lease: lease.clone(), artifact: artifact.clone(), reply };
                self.engine.ask(may).await?.map_err(rejected)?;
                Owner::Attempt { lease, artifact }
            }
            v1::sign_upload_request::Owner::Upload(v1::PersonUpload {}) => Owner::Person,
        };
        let mut uploads = Vec::with_capacity(request.files.len());
        for file in &request.files {
            uploads.push(self.sign_file(&owner, file).await?);
        }
        Ok(Response::new(v1::SignUploadResponse { uploads }))
    }

    async fn sign_download(
        &self,
        request: Request<v1::SignDownloadRequest>,
    ) -> Result<Response<v1::SignDownloadResponse>, Status> {
        let v1::SignDownloadRequest { keys, lease } = request.into_inner();
        self.check_count("keys", keys.len())?;
        let keys = keys.iter().map(|key| key_of(key)).collect::<Result<Vec<_>, _>>()?;
        let mut requests: Vec<_> = keys.iter().map(|key| self.signed(Permit::Get, key)).collect();
        if let Some(lease) = lease {
            self.sign_at_hub(convert::lease(Some(lease))?, &keys, &mut requests).await?;
        }
        Ok(Response::new(v1::SignDownloadResponse { requests }))
    }
}

impl ArtifactsService {
    /// Leads to the Hub where the store lacks what an attempt reads and the Hub has it. Only current attempts have inputs.
    async fn sign_at_hub(
        &self,
        lease: Lease,
        keys: &[local::ObjectKey],
        requests: &mut [v1::SignedRequest],
    ) -> Result<(), Status> {
        let lacking = self.lacking(keys).await?;
        if lacking.is_empty() {
            return Ok(());
        }
        let files = self.engine.ask(|reply| Command::InputFiles { lease, reply }).await?;
        for (key, request) in keys.iter().zip(requests).filter(|(key, _)| lacking.contains(key)) {
            let file = files.iter().find(|file| file.key.as_str() == key.as_str());
            if let Some(origin) = file.and_then(FileRef::origin) {
                *request = self.hub.request(origin, request.expires_at_unix_ms);
            }
        }
        Ok(())
    }

    /// Those that are not in the store.
    async fn lacking(&self, keys: &[local::ObjectKey]) -> Result<Vec<local::ObjectKey>, Status> {
        let (objects, keys) = (self.endpoint.objects.clone(), keys.to_vec());
        let look = move || -> Result<Vec<_>, ObjectError> {
            let mut lacking = Vec::new();
            for key in keys {
                match objects.open(&key) {
                    Ok(_) => {}
                    Err(ObjectError::NotFound { .. }) => lacking.push(key),
                    Err(error) => return Err(error),
                }
            }
            Ok(lacking)
        };
        self.looked(tokio::task::spawn_blocking(look).await)
    }

    fn looked<T>(&self, found: Result<Result<T, ObjectError>, JoinError>) -> Result<T, Status> {
        let found = found.map_err(|error| internal("looking into the object store", &error))?;
        found.map_err(|error| {
            self.endpoint.fatal.notice(&error);
            internal("looking into the object store", &error)
        })
    }

    fn check_count(&self, field: &'static str, given: usize) -> Result<(), BadMessage> {
        let limit = self.limits.signed_files_max;
        if given > limit { Err(BadMessage::TooMuch { field, given, limit, unit: field }) } else { Ok(()) }
    }

    async fn sign_file(&self, owner: &Owner, file: &v1::UploadFile) -> Result<v1::SignedUpload, Status> {
        let digest: Digest = file.sha256.parse().map_err(|error: assay_domain::digest::BadDigest| {
            Status::invalid_argument(format!("sha256 of `{}`: {error}", file.path))
        })?;
        let limit = match owner {
            Owner::Attempt { artifact, .. } if Lines::named(artifact).is_some() => {
                self.limits.log_segment_bytes_max
            }
            Owner::Attempt { .. } | Owner::Person => self.limits.object_bytes_max,
        };
        if file.bytes > limit {
            return Err(Status::invalid_argument(format!(
                "`{}` has {} bytes, over the limit of {limit} for one object: split it",
                file.path, file.bytes
            )));
        }
        let key = match owner {
            Owner::Person => key_of(ObjectKey::upload(digest).as_str())?,
            Owner::Attempt { lease, artifact } => {
                let key = ObjectKey::output(lease, artifact, &file.path);
                key_of(key.map_err(|error| Status::invalid_argument(error.to_string()))?.as_str())?
            }
        };
        // Only a key that is a digest says what its bytes are.
        let exists = matches!(owner, Owner::Person) && self.exists(&key, file.bytes).await?;
        let permit = Permit::Put { bytes: file.bytes, sha256: digest };
        let request = if exists { None } else { Some(self.signed(permit, &key)) };
        Ok(v1::SignedUpload { key: key.to_string(), exists, request })
    }

    async fn exists(&self, key: &local::ObjectKey, bytes: u64) -> Result<bool, Status> {
        let (objects, key) = (self.endpoint.objects.clone(), key.clone());
        let found = self.looked(tokio::task::spawn_blocking(move || objects.stat(&key)).await)?;
        Ok(found == Some(bytes))
    }

    fn signed(&self, permit: Permit, key: &local::ObjectKey) -> v1::SignedRequest {
        let expires = UnixMillis(self.endpoint.clock.unix().0 + self.limits.signed_ms);
        let method = match permit {
            Permit::Get => "GET",
            Permit::Put { .. } => "PUT",
        };
        v1::SignedRequest {
            method: method.to_owned(),
            url: format!("http://{}{}", self.address, self.endpoint.signed_path(permit, key, expires)),
            headers: HashMap::new(),
            expires_at_unix_ms: expires.0,
            from_hub: false,
        }
    }
}

fn key_of(key: &str) -> Result<local::ObjectKey, Status> {
    local::ObjectKey::parse(key).map_err(|error| Status::invalid_argument(error.to_string()))
}
