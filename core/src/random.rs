//! Randomness from the operating system.

use ring::rand::{SecureRandom, SystemRandom};

/// So many random bytes from the operating system.
pub(crate) fn random_bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; count];
    SystemRandom::new().fill(&mut bytes).expect("the operating system's random source does not fail after boot");
    bytes
}

/// The same in hex.
pub(crate) fn random_hex(bytes: usize) -> String {
    random_bytes(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number from 0 to 1 for spreading and jitter; not for secrets.
pub(crate) fn random_unit() -> f64 {
    let mut bytes = [0u8; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
