//! What a repository holds at one commit, as the Hub lists it: names, sizes and digests.

use assay_domain::origin::stays_inside;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{HubError, is_commit};

/// One file of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubFile {
    /// Its path in the repository.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 in hexadecimal, of files in large-file storage.
    pub sha256: Option<String>,
    /// Git's blob id in hexadecimal, of the others: SHA-1 of a header and the bytes.
    pub git_blob: Option<String>,
}

/// A repository at a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// Its files; those that no path on this machine can stand for are left out.
    pub files: Vec<HubFile>,
    /// Whether the Hub asks for a token: the repository is private or gated, or the Hub does not say that it is neither.
    #[serde(default = "unknown")]
    pub needs_token: bool,
}

/// What a listing that was stored before it said so is taken for.
const fn unknown() -> bool {
    true
}

/// Files of a model folder that are small; weights come beside them.
const MODEL_FILES: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "model.safetensors.index.json",
];

impl Listing {
    /// Reads the answer of `/api/models/NAME/revision/REVISION?blobs=true`.
    pub(super) fn parse(what: &str, bytes: &[u8]) -> Result<Self, HubError> {
        let wrong = |problem: String| HubError::Listing { what: what.to_owned(), problem };
        let answer: Value =
            serde_json::from_slice(bytes).map_err(|error| wrong(format!("is not JSON: {error}")))?;
        let commit = answer["sha"].as_str().filter(|sha| is_commit(sha));
        let commit = commit.ok_or_else(|| wrong(format!("names no commit: `sha` is {}", answer["sha"])))?;
        let siblings = answer["siblings"].as_array().ok_or_else(|| wrong(String::from("has no files")))?;
        let files = siblings.iter().filter_map(file).collect();
        let open = answer["private"] == false && answer["gated"] == false;
        Ok(Self { commit: commit.to_owned(), files, needs_token: !open })
    }

    /// The files that make a model folder: small ones, and the safetensors in one piece or in the parts of an index.
    pub fn model_files(&self) -> Vec<&HubFile> {
        let sharded = self.files.iter().any(|file| file.path == "model.safetensors.index.json");
        let weights = |path: &str| match sharded {
            true => path.starts_with("model-") && path.ends_with(".safetensors"),
            false => path == "model.safetensors",
        };
        let wanted = |file: &&HubFile| {
            let path = file.path.as_str();
            !path.contains('/') && (MODEL_FILES.contains(&path) || weights(path))
        };
        self.files.iter().filter(wanted).collect()
    }

    /// Weights of [`Self::model_files`] that anybody can fetch for themselves and check, since their SHA-256 is listed.
    pub fn weights_apart(&self) -> Vec<&HubFile> {
        let apart = |file: &&HubFile| file.sha256.is_some() && file.path.ends_with(".safetensors");
        self.model_files().into_iter().filter(apart).collect()
    }
}

/// One of `siblings`; none where the entry is not a file with a length and a digest that may lie in a folder of ours.
fn file(entry: &Value) -> Option<HubFile> {
    let path = entry["rfilename"].as_str().filter(|path| stays_inside(path))?;
    let lfs = &entry["lfs"];
    let hex = |value: &Value, digits: usize| {
        let text = value.as_str()?;
        (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| text.to_ascii_lowercase())
    };
    let sha256 = hex(&lfs["sha256"], 64).or_else(|| hex(&lfs["oid"], 64));
    let git_blob = if sha256.is_some() { None } else { Some(hex(&entry["blobId"], 40)?) };
    let bytes = lfs["size"].as_u64().or_else(|| entry["size"].as_u64())?;
    Some(HubFile { path: path.to_owned(), bytes, sha256, git_blob })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listing(files: &[Value]) -> Listing {
        let answer = json!({"sha": "0123456789012345678901234567890123456789", "siblings": files});
        Listing::parse("o/n", answer.to_string().as_bytes()).unwrap()
    }

    fn small(path: &str) -> Value {
        json!({"rfilename": path, "size": 3, "blobId": "a".repeat(40)})
    }

    #[test]
    fn a_model_folder_is_its_safetensors_and_what_stands_beside_them() {
        let large = |path: &str| json!({"rfilename": path, "lfs": {"sha256": "b".repeat(64), "size": 9}});
        let names = |files: &[Value]| -> Vec<String> {
            listing(files).model_files().iter().map(|file| file.path.clone()).collect()
        };
        let whole = [
            small("config.json"),
            small("README.md"),
            large("model.safetensors"),
            large("pytorch_model.bin"),
        ];
        assert_eq!(names(&whole), ["config.json", "model.safetensors"]);
        let parts = [
            large("model-00001-of-00002.safetensors"),
            large("consolidated.safetensors"),
            small("model.safetensors.index.json"),
            large("original/model-1.safetensors"),
        ];
        assert_eq!(names(&parts), ["model-00001-of-00002.safetensors", "model.safetensors.index.json"]);
    }

    #[test]
    fn weights_with_a_digest_may_be_fetched_by_others_and_only_an_open_repository_needs_no_token() {
        let large = |path: &str| json!({"rfilename": path, "lfs": {"sha256": "b".repeat(64), "size": 9}});
        // A tokenizer in large-file storage is read here.
        let files = [large("tokenizer.json"), large("model.safetensors"), small("config.json")];
        let names: Vec<String> =
            listing(&files).weights_apart().iter().map(|file| file.path.clone()).collect();
        assert_eq!(names, ["model.safetensors"]);
        assert_eq!(listing(&[small("model.safetensors")]).weights_apart(), Vec::<&HubFile>::new());
        for (said, needs_token) in [
            (json!({"private": false, "gated": false}), false),
            (json!({"private": false, "gated": "manual"}), true),
            (json!({"private": true, "gated": false}), true),
            (json!({}), true),
        ] {
            let mut answer = json!({"sha": "0123456789012345678901234567890123456789", "siblings": []});
            answer.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
            let listing = Listing::parse("o/n", answer.to_string().as_bytes()).unwrap();
            assert_eq!(listing.needs_token, needs_token, "{said}");
        }
    }

    #[test]
    fn what_leads_out_or_has_no_digest_is_left_out() {
        let bad = [
            small("../config.json"),
            small("/config.json"),
            small("a\\b"),
            json!({"rfilename": "config.json", "size": 3}),
            json!({"rfilename": "config.json", "blobId": "a".repeat(40)}),
        ];
        assert_eq!(listing(&bad).files, []);
        for answer in ["", "[]", "{\"sha\": \"main\", \"siblings\": []}"] {
            assert!(
                matches!(Listing::parse("o/n", answer.as_bytes()), Err(HubError::Listing { .. })),
                "{answer}"
            );
        }
    }
}
