//! Whether a request is signed as AWS Signature Version 4 says.

use axum::http::{HeaderMap, Method, Uri};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// What Google's store is given instead of a signature.
pub(super) const BEARER: &str = "a-token-that-nobody-may-see";

/// Whether signature, key and the body's digest are right.
pub(super) fn is_well(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
    (access_key, secret_key): (&str, &str),
) -> bool {
    let header =
        |name: &str| headers.get(name).map(|value| value.to_str().unwrap().trim()).unwrap_or_default();
    let authorization = header("authorization");
    if authorization == format!("Bearer {BEARER}") {
        return true;
    }
    let field = |name: &str| {
        let found =
            authorization.split([' ', ',']).find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default()
    };
    let (credential, names, signature) = (field("Credential"), field("SignedHeaders"), field("Signature"));
    let Some((key, scope)) = credential.split_once('/') else { return false };
    let payload = header("x-amz-content-sha256");
    let body_is_it = payload == "UNSIGNED-PAYLOAD" || payload == hex::encode(Sha256::digest(body));
    let lines: String = names.split(';').map(|name| format!("{name}:{}\n", header(name))).collect();
    let query = canonical_query(uri.query().unwrap_or_default());
    let canonical = format!("{method}\n{}\n{query}\n{lines}\n{names}\n{payload}", uri.path());
    let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{digest}", header("x-amz-date"));
    let first = format!("AWS4{secret_key}").into_bytes();
    let signing_key = scope.split('/').fold(first, |key, part| mac(&key, part));
    let expected = hex::encode(mac(&signing_key, &to_sign));
    key == access_key && body_is_it && signature == expected
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort();
    pairs.join("&")
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
