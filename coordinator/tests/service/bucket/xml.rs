//! The texts of S3's answers, and what is read of its requests.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;

const LAST_MODIFIED: &str = "2026-11-23T12:00:00.000Z";
pub(super) const LAST_MODIFIED_HTTP: &str = "Mon, 23 Nov 2026 12:00:00 GMT";

fn answer(status: StatusCode, text: String) -> Response {
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}");
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/xml");
    response.body(Body::from(text)).unwrap()
}

pub(super) fn error(status: StatusCode, code: &str) -> Response {
    answer(status, format!("<Error><Code>{code}</Code><Message>a test's {code}</Message></Error>"))
}

pub(super) fn empty(status: StatusCode) -> Response {
    Response::builder().status(status).body(Body::empty()).unwrap()
}

pub(super) fn tagged(etag: &str) -> Response {
    Response::builder().header(header::ETAG, format!("\"{etag}\"")).body(Body::empty()).unwrap()
}

pub(super) fn begun(key: &str, id: &str) -> Response {
    let inner = format!("<Bucket>b</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>");
    answer(StatusCode::OK, format!("<InitiateMultipartUploadResult>{inner}</InitiateMultipartUploadResult>"))
}

pub(super) fn completed(key: &str, etag: &str) -> Response {
    let inner = format!("<Key>{key}</Key><ETag>\"{etag}\"</ETag>");
    answer(StatusCode::OK, format!("<CompleteMultipartUploadResult>{inner}</CompleteMultipartUploadResult>"))
}

pub(super) fn deleted(keys: &[String]) -> Response {
    let each = keys.iter().map(|key| format!("<Deleted><Key>{key}</Key></Deleted>"));
    answer(StatusCode::OK, format!("<DeleteResult>{}</DeleteResult>", each.collect::<String>()))
}

/// A page of keys with their lengths, and of folders without.
pub(super) fn listing(page: &[(String, Option<usize>)], more: bool) -> Response {
    let mut text = format!("<KeyCount>{}</KeyCount><IsTruncated>{more}</IsTruncated>", page.len());
    if let Some((last, _)) = page.last().filter(|_| more) {
        text.push_str(&format!("<NextContinuationToken>{last}</NextContinuationToken>"));
    }
    for (name, bytes) in page {
        text.push_str(&match bytes {
            Some(bytes) => format!(
                "<Contents><Key>{name}</Key><LastModified>{LAST_MODIFIED}</LastModified><ETag>\"e\"</ETag><Size>{bytes}</Size></Contents>"
            ),
            None => format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"),
        });
    }
    answer(StatusCode::OK, format!("<ListBucketResult>{text}</ListBucketResult>"))
}

/// What stands in each element of this name.
pub(super) fn texts(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let each = xml.split(open.as_str()).skip(1).map(|rest| rest.split(close.as_str()).next().unwrap());
    each.map(str::to_owned).collect()
}

/// `bytes=FROM-TO` as the first byte and the one after the last.
pub(super) fn range(text: &str) -> (usize, usize) {
    let (from, to) = text.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    (from.parse().unwrap(), to.parse::<usize>().map_or(usize::MAX, |to| to + 1))
}

pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}
