//! The bytes of a segment: a header, then one frame for each batch. All numbers are little-endian.
//!
//! Header, 28 bytes: `ASSAYJNL`, format version u32, zero u32, first sequence u64, CRC32C u32 of the 24 bytes before.
//! Frame: payload length u32, CRC32C u32, sequence of its first record u64, record count u32, payload. The payload is,
//! for each record, its length u32 and its bytes. The CRC covers the frame without the CRC itself.

/// The version that is written, and the only one that is read.
pub(super) const FORMAT_VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 28;
pub(super) const FRAME_HEAD_BYTES: usize = 20;
const MAGIC: &[u8; 8] = b"ASSAYJNL";

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    Good { first_sequence: u64 },
    OtherVersion { version: u32 },
    Bad,
}

/// A whole and intact frame, found at some offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) first_sequence: u64,
    pub(super) last_sequence: u64,
    /// Where its payload starts and ends; the next frame starts at the end.
    pub(super) payload: std::ops::Range<usize>,
}

pub(super) fn encode_header(first_sequence: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes.extend_from_slice(&first_sequence.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

pub(super) fn decode_header(bytes: &[u8]) -> Header {
    let (Some(covered), Some(crc)) = (bytes.get(..24), read_u32(bytes, 24)) else { return Header::Bad };
    if !covered.starts_with(MAGIC) || crc32c::crc32c(covered) != crc {
        return Header::Bad;
    }
    match (read_u32(bytes, 8), read_u64(bytes, 16)) {
        (Some(FORMAT_VERSION), Some(first_sequence)) => Header::Good { first_sequence },
        (Some(version), _) => Header::OtherVersion { version },
        (None, _) => Header::Bad,
    }
}

/// The payload that a batch needs, without its frame's head.
pub(super) fn payload_bytes(records: &[Vec<u8>]) -> u64 {
    records.iter().map(|record| 4 + record.len() as u64).sum()
}

/// Encodes a batch; the caller has checked that its payload fits 32 bits.
pub(super) fn encode_frame(first_sequence: u64, records: &[Vec<u8>]) -> Vec<u8> {
    let payload_bytes = payload_bytes(records) as usize;
    let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + payload_bytes);
    frame.extend_from_slice(&(payload_bytes as u32).to_le_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&first_sequence.to_le_bytes());
    frame.extend_from_slice(&(records.len() as u32).to_le_bytes());
    for record in records {
        frame.extend_from_slice(&(record.len() as u32).to_le_bytes());
        frame.extend_from_slice(record);
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame
}

/// How many bytes the frame that begins these bytes has, by its head.
pub(super) fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    Some(FRAME_HEAD_BYTES + read_u32(bytes, 0)? as usize)
}

/// Reads the frame at `offset`, or says why there is none.
pub(super) fn decode_frame(bytes: &[u8], offset: usize) -> Result<Frame, &'static str> {
    let frame = bytes.get(offset..).unwrap_or_default();
    let (Some(length), Some(crc)) = (read_u32(frame, 0), read_u32(frame, 4)) else {
        return Err("the file ends in a frame's head");
    };
    let (Some(first_sequence), Some(count)) = (read_u64(frame, 8), read_u32(frame, 16)) else {
        return Err("the file ends in a frame's head");
    };
    if count == 0 || first_sequence == 0 || u64::from(length) < 4 * u64::from(count) {
        return Err("the frame's head holds impossible numbers");
    }
    let end = FRAME_HEAD_BYTES + length as usize;
    let Some(covered) = frame.get(8..end) else { return Err("the file ends in a frame's payload") };
    if crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), covered) != crc {
        return Err("the frame's checksum is wrong");
    }
    let last_sequence = first_sequence.saturating_add(u64::from(count) - 1);
    Ok(Frame { first_sequence, last_sequence, payload: offset + FRAME_HEAD_BYTES..offset + end })
}

/// The record at the start of a frame's payload and what follows it; `None` if the lengths do not add up.
pub(super) fn split_record(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = read_u32(payload, 0)? as usize;
    payload.get(4..)?.split_at_checked(length)
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
