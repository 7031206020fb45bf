//! Where the coordinator is now, and calls to it that end when it does.

use std::error::Error as _;
use std::rc::Rc;
use std::time::Duration;

use assay_domain::{Artifact, Digest, FileRef, Lease, ObjectKey};
use assay_proto::client::{AuthorizedChannel, Credentials};
use assay_proto::v1;
use assay_proto::v1::artifacts_client::ArtifactsClient;
use assay_proto::v1::matrices_client::MatricesClient;
use tokio::sync::watch;
use tonic::{Code, Status};

/// Longer than anything here takes: what does not come fails the test instead of hanging it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A coordinator's process, by the number of its round.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) round: u64,
    pub(crate) address: String,
    pub(crate) token: String,
    /// Nobody kills this one: errors are errors.
    pub(crate) last: bool,
}

/// The coordinator died before it answered: what was asked has happened or not.
#[derive(Debug)]
pub(crate) struct Gone;

/// How everyone finds the coordinator of the round.
#[derive(Clone)]
pub(crate) struct Places {
    pub(crate) current: watch::Receiver<Option<Place>>,
    /// Counts what is asked, so that kills come in the middle of things.
    pub(crate) traffic: Rc<watch::Sender<u64>>,
    pub(crate) http: reqwest::Client,
}

impl Places {
    /// Calls to the first coordinator after a round.
    pub(crate) async fn after(&mut self, round: u64) -> Client {
        let next = self.current.wait_for(|place| place.as_ref().is_some_and(|place| place.round > round));
        let place = tokio::time::timeout(PATIENCE, next).await.expect("a coordinator in time");
        let place = place.unwrap().clone().unwrap();
        let credentials = Credentials::new(&place.token).unwrap();
        let channel = credentials.channel(&format!("http://{}", place.address)).unwrap();
        Client { place, channel, traffic: Rc::clone(&self.traffic), http: self.http.clone() }
    }

    /// Asks each coordinator in turn until one answers.
    pub(crate) async fn until_heard<T>(&mut self, ask: impl AsyncFn(&Client) -> Result<T, Gone>) -> T {
        let mut round = 0;
        loop {
            let client = self.after(round).await;
            match ask(&client).await {
                Ok(answer) => return answer,
                Err(Gone) => round = client.place.round,
            }
        }
    }
}

/// Calls to one process.
pub(crate) struct Client {
    pub(crate) place: Place,
    pub(crate) channel: AuthorizedChannel,
    traffic: Rc<watch::Sender<u64>>,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn note(&self) {
        self.traffic.send_modify(|count| *count += 1);
    }

    /// What a call that failed means; a refusal by a living coordinator fails the test.
    pub(crate) fn gone(&self, status: &Status) -> Gone {
        // One that stops because its disk failed may still say so.
        let stopping = status.code() == Code::Unavailable;
        assert!(stopping || status.source().is_some(), "refused: {status:?}");
        self.gone_for(status)
    }

    pub(crate) fn gone_for(&self, error: &dyn std::fmt::Debug) -> Gone {
        assert!(!self.place.last, "nobody killed this one: {error:?}");
        Gone
    }

    pub(crate) fn matrices(&self) -> MatricesClient<AuthorizedChannel> {
        self.note();
        MatricesClient::new(self.channel.clone()).max_decoding_message_size(assay_proto::MESSAGE_BYTES_MAX)
    }

    async fn sign(&self, request: v1::SignUploadRequest) -> Result<Vec<v1::SignedUpload>, Gone> {
        self.note();
        let signed = ArtifactsClient::new(self.channel.clone()).sign_upload(request).await;
        Ok(signed.map_err(|status| self.gone(&status))?.into_inner().uploads)
    }

    async fn put(&self, url: &str, bytes: &[u8]) -> Result<(), Gone> {
        self.note();
        let response = self.http.put(url).body(bytes.to_vec()).send().await;
        let response = response.map_err(|error| self.gone_for(&error))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| self.gone_for(&error))?;
        assert!(status.is_success(), "{status}: {text}");
        Ok(())
    }

    /// Uploads a person's files by their digests.
    pub(crate) async fn upload_files(&self, files: &[&str]) -> Result<(), Gone> {
        let owner = Some(v1::sign_upload_request::Owner::Upload(v1::PersonUpload {}));
        let named = files.iter().map(|text| upload_file("file", text.as_bytes())).collect();
        let signed = self.sign(v1::SignUploadRequest { owner, files: named }).await?;
        for (signed, text) in signed.into_iter().zip(files) {
            if let Some(request) = signed.request {
                self.put(&request.url, text.as_bytes()).await?;
            }
        }
        Ok(())
    }

    /// Uploads an output of one file, the same bytes each time.
    pub(crate) async fn upload_output(&self, lease: &Lease, name: &str) -> Result<Artifact, Gone> {
        let (path, bytes) = (format!("{name}.bin"), format!("{name} of {lease}").into_bytes());
        let owner = v1::sign_upload_request::Owner::Output(v1::AttemptOutput {
            job_id: lease.job.to_string(),
            epoch: lease.fence.epoch.0,
            attempt: lease.fence.attempt.0,
            artifact: name.to_owned(),
        });
        let files = vec![upload_file(&path, &bytes)];
        let signed = self.sign(v1::SignUploadRequest { owner: Some(owner), files }).await?.remove(0);
        self.put(&signed.request.unwrap().url, &bytes).await?;
        let key = ObjectKey::parse(signed.key).unwrap();
        let file = FileRef { path, key, digest: Digest::of(&bytes), bytes: bytes.len() as u64, origin: None };
        Ok(Artifact { name: name.to_owned(), files: vec![file] })
    }

    /// The bytes of objects.
    pub(crate) async fn download(&self, keys: Vec<String>) -> Vec<Vec<u8>> {
        let request = v1::SignDownloadRequest { keys, lease: None };
        let signed = ArtifactsClient::new(self.channel.clone()).sign_download(request).await.unwrap();
        let mut objects = Vec::new();
        for request in signed.into_inner().requests {
            let response = self.http.get(&request.url).send().await.unwrap().error_for_status().unwrap();
            objects.push(response.bytes().await.unwrap().to_vec());
        }
        objects
    }
}

fn upload_file(path: &str, bytes: &[u8]) -> v1::UploadFile {
    v1::UploadFile { path: path.to_owned(), bytes: bytes.len() as u64, sha256: Digest::of(bytes).to_string() }
}
