//! A store of objects behind signed requests, in memory: PUT once, ranged GET.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use assay_domain::{Artifact, Digest, FileRef, ObjectKey};
use assay_proto::v1::artifacts_server::Artifacts;
use assay_proto::v1::{self, sign_upload_request::Owner};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

type Contents = Arc<Mutex<BTreeMap<String, Bytes>>>;
type Signature = Query<BTreeMap<String, String>>;

#[derive(Clone)]
pub(crate) struct Store {
    url: String,
    contents: Contents,
}

impl Store {
    pub(crate) async fn start() -> Self {
        let contents = Contents::default();
        let app = Router::new().route("/objects/{*key}", get(read).put(write)).with_state(contents.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/objects", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, contents }
    }

    /// An artifact that exists.
    pub(crate) fn artifact(&self, name: &str, files: &[(&str, &str)]) -> Artifact {
        let file = |(path, text): &(&str, &str)| {
            let digest = Digest::of(text.as_bytes());
            let key = ObjectKey::upload(digest);
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            self.contents.lock().unwrap().insert(key.to_string(), bytes);
            FileRef { path: (*path).to_owned(), key, digest, bytes: text.len() as u64, origin: None }
        };
        Artifact { name: name.to_owned(), files: files.iter().map(file).collect() }
    }

    pub(crate) fn text(&self, key: &ObjectKey) -> Option<String> {
        let contents = self.contents.lock().unwrap();
        contents.get(key.as_str()).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn signed(&self, method: &str, key: &str) -> v1::SignedRequest {
        v1::SignedRequest {
            method: method.to_owned(),
            url: format!("{}/{key}?signature=secret", self.url),
            ..Default::default()
        }
    }
}

async fn read(
    State(contents): State<Contents>,
    Path(key): Path<String>,
    Query(query): Signature,
) -> Result<Bytes, StatusCode> {
    if query.get("signature").map(String::as_str) != Some("secret") {
        return Err(StatusCode::FORBIDDEN);
    }
    contents.lock().unwrap().get(&key).cloned().ok_or(StatusCode::NOT_FOUND)
}

async fn write(
    State(contents): State<Contents>,
    Path(key): Path<String>,
    Query(query): Signature,
    bytes: Bytes,
) -> StatusCode {
    if query.get("signature").map(String::as_str) != Some("secret") {
        return StatusCode::FORBIDDEN;
    }
    contents.lock().unwrap().insert(key, bytes);
    StatusCode::CREATED
}

pub(crate) struct Objects(pub(crate) Store);

#[tonic::async_trait]
impl Artifacts for Objects {
    async fn sign_upload(
        &self,
        request: Request<v1::SignUploadRequest>,
    ) -> Result<Response<v1::SignUploadResponse>, Status> {
        let request = request.into_inner();
        let Some(Owner::Output(output)) = request.owner else {
            return Err(Status::invalid_argument("owner"));
        };
        let sign = |file: v1::UploadFile| {
            let fence = format!("e{}-a{}", output.epoch, output.attempt);
            let key = format!("jobs/{}/{fence}/{}/{}", output.job_id, output.artifact, file.path);
            let request = Some(self.0.signed("PUT", &key));
            v1::SignedUpload { key, exists: false, request }
        };
        Ok(Response::new(v1::SignUploadResponse { uploads: request.files.into_iter().map(sign).collect() }))
    }

    async fn sign_download(
        &self,
        request: Request<v1::SignDownloadRequest>,
    ) -> Result<Response<v1::SignDownloadResponse>, Status> {
        let keys = request.into_inner().keys;
        let requests = keys.iter().map(|key| self.0.signed("GET", key)).collect();
        Ok(Response::new(v1::SignDownloadResponse { requests }))
    }
}
