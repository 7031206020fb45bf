//! Metadata values of a GGUF file.

use std::io::Read;

use super::cursor::Cursor;
use super::{GgufError, usize_of};

/// A metadata value; integers of all widths are widened.
#[derive(Debug, Clone, PartialEq)]
pub enum MetaValue {
    /// u8, u16, u32, u64.
    Unsigned(u64),
    /// i8, i16, i32, i64.
    Signed(i64),
    /// A 32-bit float.
    F32(f32),
    /// A 64-bit float.
    F64(f64),
    /// A truth value.
    Bool(bool),
    /// UTF-8 text.
    String(String),
    /// Values of one type.
    Array(MetaArray),
}

/// An array of metadata; arrays of arrays are refused while reading (no known key uses them).
#[derive(Debug, Clone, PartialEq)]
pub enum MetaArray {
    /// Texts.
    Strings(Vec<String>),
    /// Everything that is not text.
    Scalars(Vec<MetaValue>),
}

impl MetaValue {
    /// A short text for error messages.
    pub fn describe(&self) -> String {
        match self {
            Self::Unsigned(number) => format!("the integer {number}"),
            Self::Signed(number) => format!("the integer {number}"),
            Self::F32(number) => format!("the float {number}"),
            Self::F64(number) => format!("the float {number}"),
            Self::Bool(truth) => format!("{truth}"),
            Self::String(text) => format!("the string {:?}", text.chars().take(60).collect::<String>()),
            Self::Array(MetaArray::Strings(items)) => format!("an array of {} strings", items.len()),
            Self::Array(MetaArray::Scalars(items)) => format!("an array of {} values", items.len()),
        }
    }
}

const TYPE_STRING: u32 = 8;
const TYPE_ARRAY: u32 = 9;

pub(super) fn read_value<R: Read>(cursor: &mut Cursor<R>) -> Result<MetaValue, GgufError> {
    let code = cursor.u32()?;
    match code {
        TYPE_STRING => Ok(MetaValue::String(cursor.string()?)),
        TYPE_ARRAY => Ok(MetaValue::Array(read_array(cursor)?)),
        _ => read_scalar(cursor, code),
    }
}

fn read_array<R: Read>(cursor: &mut Cursor<R>) -> Result<MetaArray, GgufError> {
    let code = cursor.u32()?;
    let count = cursor.u64()?;
    // The least that one element takes in the file bounds the memory that a false count can ask for.
    let element_bytes = match code {
        TYPE_STRING => 8,
        TYPE_ARRAY => return Err(cursor.malformed("an array of arrays, which is not read".to_owned())),
        _ => scalar_bytes(code).ok_or_else(|| unknown_type(cursor, code))?,
    };
    if count > cursor.remaining() / element_bytes {
        return Err(cursor.malformed(format!("an array of {count} values, more than the file can hold")));
    }
    if code == TYPE_STRING {
        let mut items = Vec::with_capacity(usize_of(count));
        for _ in 0..count {
            items.push(cursor.string()?);
        }
        return Ok(MetaArray::Strings(items));
    }
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(read_scalar(cursor, code)?);
    }
    Ok(MetaArray::Scalars(items))
}

fn scalar_bytes(code: u32) -> Option<u64> {
    match code {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn unknown_type<R: Read>(cursor: &Cursor<R>, code: u32) -> GgufError {
    cursor.malformed(format!("a value of type {code}; the format has 0 to 12"))
}

fn read_scalar<R: Read>(cursor: &mut Cursor<R>, code: u32) -> Result<MetaValue, GgufError> {
    Ok(match code {
        0 => MetaValue::Unsigned(u64::from(cursor.u8()?)),
        1 => MetaValue::Signed(i64::from(cursor.u8()?.cast_signed())),
        2 => MetaValue::Unsigned(u64::from(cursor.u16()?)),
        3 => MetaValue::Signed(i64::from(cursor.u16()?.cast_signed())),
        4 => MetaValue::Unsigned(u64::from(cursor.u32()?)),
        5 => MetaValue::Signed(i64::from(cursor.u32()?.cast_signed())),
        6 => MetaValue::F32(f32::from_bits(cursor.u32()?)),
        7 => match cursor.u8()? {
            0 => MetaValue::Bool(false),
            1 => MetaValue::Bool(true),
            other => return Err(cursor.malformed(format!("a truth value of {other}; it must be 0 or 1"))),
        },
        10 => MetaValue::Unsigned(cursor.u64()?),
        11 => MetaValue::Signed(cursor.u64()?.cast_signed()),
        12 => MetaValue::F64(f64::from_bits(cursor.u64()?)),
        _ => return Err(unknown_type(cursor, code)),
    })
}
