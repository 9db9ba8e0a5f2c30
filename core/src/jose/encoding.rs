//! Bytes written as text: tolerant of the small liberties that keys arrive with.

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine as _};
use zeroize::Zeroizing;

const TOLERANT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, TOLERANT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, TOLERANT);

/// Either alphabet of base64, with or without padding, with line breaks.
pub(super) fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    // Room for all, so that no reallocation leaves a copy behind.
    let mut dense = Zeroizing::new(Vec::with_capacity(text.len()));
    dense.extend(text.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let engine = if dense.iter().any(|byte| matches!(byte, b'-' | b'_')) { &URL_SAFE } else { &STANDARD };
    engine.decode(dense.as_slice()).ok().map(Zeroizing::new)
}

/// Hex digits of either case, two for each byte.
pub(super) fn hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    for [high, low] in pairs {
        bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
    }
    Some(bytes)
}

/// The number with leading zeros cut or added until it has `size` bytes; `None` if it is larger than that.
pub(super) fn fixed(number: &[u8], size: usize) -> Option<Zeroizing<Vec<u8>>> {
    let number = without_leading_zeros(number);
    let mut bytes = Zeroizing::new(vec![0; size]);
    bytes[size.checked_sub(number.len())?..].copy_from_slice(number);
    Some(bytes)
}

pub(super) fn without_leading_zeros(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}
