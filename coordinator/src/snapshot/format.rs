//! The bytes of a snapshot file. All numbers are little-endian.
//!
//! Header, 36 bytes: `ASSAYSNP`, format version u32, zero u32, sequence u64, state length u64, CRC32C u32 of the 32 bytes
//! before. Then the state in blocks of 1 MiB (the last one shorter): each its CRC32C u32 and its bytes. A block's CRC
//! covers its number (u64) and its bytes, so that blocks cannot change places.

const MAGIC: &[u8; 8] = b"ASSAYSNP";
const FORMAT_VERSION: u32 = 1;
const HEADER_BYTES: usize = 36;
const BLOCK_BYTES: usize = 1 << 20;

/// Encodes the file's parts one after the other, so that a large state is not copied whole.
pub(super) fn encode<E>(
    sequence: u64,
    state: &[u8],
    mut write: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    header.extend_from_slice(&0_u32.to_le_bytes());
    header.extend_from_slice(&sequence.to_le_bytes());
    header.extend_from_slice(&(state.len() as u64).to_le_bytes());
    header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
    write(&header)?;
    for (number, block) in state.chunks(BLOCK_BYTES).enumerate() {
        write(&block_crc(number, block).to_le_bytes())?;
        write(block)?;
    }
    Ok(())
}

/// The state in a file's bytes, or what is wrong with them.
pub(super) fn decode(bytes: &[u8], sequence: u64) -> Result<Vec<u8>, String> {
    let Some((header, mut rest)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(format!("{} bytes are too few for a header of {HEADER_BYTES}", bytes.len()));
    };
    if !header.starts_with(MAGIC) || number(header, 32, 4) != u64::from(crc32c::crc32c(&header[..32])) {
        return Err("the header's checksum is wrong".to_owned());
    }
    let version = number(header, 8, 4);
    if version != u64::from(FORMAT_VERSION) {
        return Err(format!("format version {version} is not {FORMAT_VERSION}, the one this program reads"));
    }
    if number(header, 16, 8) != sequence {
        return Err(format!("its header says sequence {}, its name says {sequence}", number(header, 16, 8)));
    }
    let state_bytes = number(header, 24, 8);
    let mut state = Vec::with_capacity(rest.len());
    for block_number in 0.. {
        let wanted = (state_bytes - state.len() as u64).min(BLOCK_BYTES as u64) as usize;
        if wanted == 0 {
            break;
        }
        let Some((block, later)) = rest.split_at_checked(4 + wanted) else {
            return Err(format!("it ends in block {block_number}: its state has {state_bytes} bytes"));
        };
        if number(block, 0, 4) != u64::from(block_crc(block_number, &block[4..])) {
            return Err(format!("the checksum of block {block_number} is wrong"));
        }
        state.extend_from_slice(&block[4..]);
        rest = later;
    }
    if !rest.is_empty() {
        return Err(format!("{} bytes follow its end", rest.len()));
    }
    Ok(state)
}

fn block_crc(number: usize, block: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&(number as u64).to_le_bytes()), block)
}

/// A little-endian number of `width` bytes; the caller has checked that they are there.
fn number(bytes: &[u8], at: usize, width: usize) -> u64 {
    bytes[at..at + width].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
