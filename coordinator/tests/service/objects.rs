//! `/objects` and its misuse.

use assay_domain::Digest;
use assay_proto::v1;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, RANGE};

use super::world::{World, put};

async fn sign_put(world: &World, bytes: &[u8]) -> v1::SignedUpload {
    let file = v1::UploadFile {
        path: "file".into(),
        bytes: bytes.len() as u64,
        sha256: Digest::of(bytes).to_string(),
    };
    let owner = Some(v1::sign_upload_request::Owner::Upload(v1::PersonUpload {}));
    let request = v1::SignUploadRequest { owner, files: vec![file] };
    world.artifacts().sign_upload(request).await.unwrap().into_inner().uploads.remove(0)
}

async fn sign_get(world: &World, key: &str) -> String {
    let request = v1::SignDownloadRequest { keys: vec![key.into()], lease: None };
    let signed = world.artifacts().sign_download(request).await.unwrap().into_inner().requests.remove(0);
    assert_eq!(signed.method, "GET");
    signed.url
}

async fn get(url: &str, range: Option<&str>) -> reqwest::Response {
    let mut request = reqwest::Client::new().get(url);
    if let Some(range) = range {
        request = request.header(RANGE, range);
    }
    request.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_go_in_once_and_come_out_whole_or_in_part() {
    let world = World::new().await;
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let signed = sign_put(&world, &bytes).await;
    assert!(!signed.exists);
    let url = signed.request.unwrap().url;
    assert_eq!(put(&url, &bytes).await.0, StatusCode::CREATED);
    assert_eq!(put(&url, &bytes).await.0, StatusCode::OK);
    let again = sign_put(&world, &bytes).await;
    assert!(again.exists && again.request.is_none());

    let url = sign_get(&world, &signed.key).await;
    let whole = get(&url, None).await;
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(whole.bytes().await.unwrap(), bytes);
    let part = get(&url, Some("bytes=500000-500009")).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()[CONTENT_RANGE], "bytes 500000-500009/1000000");
    assert_eq!(part.bytes().await.unwrap(), bytes[500_000..500_010]);
    let rest = get(&url, Some("bytes=999000-")).await;
    assert_eq!(rest.bytes().await.unwrap(), bytes[999_000..]);
    let beyond = get(&url, Some("bytes=1000000-")).await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.headers()[CONTENT_RANGE], "bytes */1000000");
    let head = reqwest::Client::new().head(&url).send().await.unwrap();
    assert_eq!(
        (head.status(), head.headers()["content-length"].to_str().unwrap()),
        (StatusCode::OK, "1000000")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_good_only_as_it_was_signed_and_until_it_expires() {
    let world = World::new().await;
    let signed = sign_put(&world, b"abc").await;
    let url = signed.request.unwrap().url;
    let mut forged = url.clone();
    forged.replace_range(url.len() - 4.., "0000");
    for (bad, words) in [
        (forged, "signature does not fit"),
        (url.replace("bytes=3", "bytes=4"), "signature does not fit"),
        (url.replace("/objects/sha256/", "/objects/sha257/"), "signature does not fit"),
        (url.split('?').next().unwrap().to_owned(), "not signed"),
    ] {
        let (status, text) = put(&bad, b"abc").await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{bad}");
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(get(&url, None).await.status(), StatusCode::FORBIDDEN);
    world.pass(world.limits.signed_ms).await;
    let (status, text) = put(&url, b"abc").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(text.contains("expired"), "{text}");
    assert!(!sign_put(&world, b"abc").await.exists);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_refused_and_nothing_is_stored() {
    let world = World::new().await;
    let signed = sign_put(&world, b"abc").await;
    let url = signed.request.unwrap().url;
    let (status, text) = put(&url, b"abd").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("was announced with sha256"), "{text}");
    let (status, text) = put(&url, b"abcd").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("4 bytes, but the request is signed for 3"), "{text}");
    // Without a length, as chunks.
    for body in [&b"ab"[..], b"abcd"] {
        let stream = futures::stream::iter([Ok::<_, std::io::Error>(body.to_vec())]);
        let request = reqwest::Client::new().put(&url).body(reqwest::Body::wrap_stream(stream));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(response.text().await.unwrap().contains("was announced with 3 bytes"));
    }
    assert_eq!(get(&sign_get(&world, &signed.key).await, None).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(put(&url, b"abc").await.0, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_is_never_overwritten_by_other_bytes() {
    let world = World::new().await;
    world.submit("k", 1).await;
    let mut worker = super::worker::Worker::connect(&world, "w", &[]).await;
    let lease = worker.offer().await.lease;
    worker.upload(&lease, "metrics", "metrics.jsonl", b"one").await;
    let request = super::worker::sign_request(&lease, "metrics", "metrics.jsonl", b"two");
    let signed = world.artifacts().sign_upload(request).await.unwrap().into_inner().uploads.remove(0);
    let (status, text) = put(&signed.request.unwrap().url, b"two").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(text.contains("never overwritten"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_sizes_that_cannot_be_are_not_signed() {
    let world = World::new().await;
    for key in ["", "../token", "a//b", "/etc/passwd", "a b", ".uploads/x"] {
        let request = v1::SignDownloadRequest { keys: vec![key.into()], lease: None };
        let status = world.artifacts().sign_download(request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{key}");
    }
    let sign = async |bytes, sha256: &str, count| {
        let file = v1::UploadFile { path: "f".into(), bytes, sha256: sha256.into() };
        let owner = Some(v1::sign_upload_request::Owner::Upload(v1::PersonUpload {}));
        let request = v1::SignUploadRequest { owner, files: vec![file; count] };
        world.artifacts().sign_upload(request).await.unwrap_err()
    };
    let good = Digest::of(b"").to_string();
    for (status, words) in [
        (sign(1, "abc", 1).await, "64 hexadecimal digits"),
        (sign(u64::MAX, &good, 1).await, "over the limit"),
        (sign(1, &good, 2000).await, "2000, over the limit of 1024 files"),
    ] {
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.message().contains(words), "{status}");
    }
}
