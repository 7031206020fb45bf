//! Reads files that are small by nature, and refuses others before it takes memory: a folder may name anything so.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Longest JSON file or template.
pub(crate) const JSON_BYTES_MAX: u64 = 64 << 20;
/// Longest tokenizer; those of vocabularies of 256,000 tokens have some 35 MB.
pub(crate) const TOKENIZER_BYTES_MAX: u64 = 512 << 20;

/// The bytes of a file that has at most `bytes_max`.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let refuse = |length: u64| {
        let problem = format!("it is {length} bytes long or longer; at most {bytes_max} are read");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, problem))
    };
    let length = file.metadata()?.len();
    if length > bytes_max {
        return refuse(length);
    }
    // What is no plain file tells no length.
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max { refuse(bytes.len() as u64) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"12345").unwrap();
        assert_eq!(read(file.path(), 5).unwrap(), b"12345");
        let refused = read(file.path(), 4).unwrap_err();
        assert_eq!(refused.to_string(), "it is 5 bytes long or longer; at most 4 are read");
    }
}
