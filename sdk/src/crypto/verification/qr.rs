//! The code that one device shows and the other scans: its bytes.
//!
//! Invariant: what is read back is what was written, and nothing else is read; the secret is wiped when dropped and compared in
//! constant time. Spec: <https://spec.matrix.org/v1.19/client-server-api/#qr-code-format>

use subtle::ConstantTimeEq;
use vodozemac::{base64_decode, base64_encode};
use zeroize::Zeroizing;

use crate::{clock::Rng, crypto::secret::SecretBytes};

/// Names of what a device can do.
pub(super) const SHOW: &str = "m.qr_code.show.v1";
pub(super) const SCAN: &str = "m.qr_code.scan.v1";
pub(super) const RECIPROCATE: &str = "m.reciprocate.v1";

const MAGIC: &[u8; 6] = b"MATRIX";
const VERSION: u8 = 2;
const KEY_BYTES: usize = 32;

/// The secret that we put into a code, in bytes: "It is suggested to use a secret that is about 8 bytes long".
const SECRET_BYTES: usize = 16;

/// As much as the largest symbol of ISO/IEC 18004 holds in byte mode, in bytes.
const CODE_BYTES_MAX: usize = 2953;

/// Who verifies whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Another user: our master key, and theirs.
    Another = 0,
    /// A device of ours, by one that trusts our master key: that key, and the other device's.
    Trusting = 1,
    /// A device of ours, by one that does not trust our master key yet: its own key, and the master key.
    NotTrusting = 2,
}

/// What a code says.
pub(super) struct QrCode {
    pub(super) mode: Mode,
    pub(super) flow_id: String,
    /// Who shows the code: unpadded base64.
    pub(super) first: String,
    /// Whom they expect.
    pub(super) second: String,
    secret: SecretBytes,
}

impl QrCode {
    /// A code with a fresh secret.
    pub(super) fn new(
        mode: Mode,
        flow_id: &str,
        (first, second): (String, String),
        rng: &dyn Rng,
    ) -> Self {
        let mut secret = vec![0; SECRET_BYTES];
        rng.fill(&mut secret);
        Self {
            mode,
            flow_id: flow_id.to_owned(),
            first,
            second,
            secret: SecretBytes::new(secret),
        }
    }

    /// The bytes to be drawn, as one segment in byte mode. `None` if a key is none, or the name is too long.
    pub(super) fn encode(&self) -> Option<SecretBytes> {
        let length = u16::try_from(self.flow_id.len()).ok()?;
        let (first, second) = (key_bytes(&self.first)?, key_bytes(&self.second)?);
        // All of it at once: a buffer that grows leaves copies behind.
        let bytes = [
            &MAGIC[..],
            &[VERSION, self.mode as u8],
            &length.to_be_bytes(),
            self.flow_id.as_bytes(),
            &first,
            &second,
            self.secret.expose(),
        ];
        let bytes = SecretBytes::new(bytes.concat());
        (bytes.expose().len() <= CODE_BYTES_MAX).then_some(bytes)
    }

    /// What scanned bytes say; `None` if they are no such code.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > CODE_BYTES_MAX {
            return None;
        }
        let rest = bytes.strip_prefix(MAGIC)?;
        let ([version, mode, high, low], rest) = rest.split_first_chunk()?;
        let mode = match mode {
            0 => Mode::Another,
            1 => Mode::Trusting,
            2 => Mode::NotTrusting,
            _ => return None,
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (flow_id, rest) = rest.split_at_checked(length)?;
        let (first, rest) = rest.split_first_chunk::<KEY_BYTES>()?;
        let (second, secret) = rest.split_first_chunk::<KEY_BYTES>()?;
        (*version == VERSION && !secret.is_empty()).then_some(())?;
        Some(Self {
            mode,
            flow_id: str::from_utf8(flow_id).ok()?.to_owned(),
            first: base64_encode(first),
            second: base64_encode(second),
            secret: SecretBytes::new(secret.to_vec()),
        })
    }

    /// The secret as the other side is to repeat it.
    pub(super) fn secret(&self) -> String {
        base64_encode(self.secret.expose())
    }

    /// Whether this is the secret, as it was repeated.
    pub(super) fn is_secret(&self, repeated: &str) -> bool {
        let repeated = base64_decode(repeated.trim_end_matches('=')).map(Zeroizing::new);
        repeated.is_ok_and(|repeated| bool::from(repeated.ct_eq(self.secret.expose())))
    }
}

fn key_bytes(key: &str) -> Option<[u8; KEY_BYTES]> {
    base64_decode(key).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemRng;

    fn code(mode: Mode) -> QrCode {
        let keys = (base64_encode([1; 32]), base64_encode([2; 32]));
        QrCode::new(mode, "$ABCD", keys, &SystemRng)
    }

    #[test]
    fn a_code_has_the_specifications_form_and_is_read_back() {
        for mode in [Mode::Another, Mode::Trusting, Mode::NotTrusting] {
            let made = code(mode);
            let bytes = made.encode().unwrap();
            let bytes = bytes.expose();
            assert_eq!(
                bytes[..10],
                *[&b"MATRIX"[..], &[2, mode as u8, 0, 5]].concat()
            );
            assert_eq!(bytes[10..15], *b"$ABCD");
            assert_eq!(bytes[15..79], *[[1; 32], [2; 32]].concat());
            assert_eq!(bytes.len(), 79 + SECRET_BYTES);
            let read = QrCode::decode(bytes).unwrap();
            assert_eq!((read.mode, &*read.flow_id), (mode, "$ABCD"));
            assert_eq!((read.first, read.second), (made.first, made.second));
            assert_eq!(read.secret.expose(), made.secret.expose());
        }
    }

    #[test]
    fn the_specifications_example_is_read() {
        let id = "$ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqr";
        let mut bytes = b"MATRIX\x02\x00\x00\x2d".to_vec();
        bytes.extend(id.as_bytes());
        bytes.extend(0..0x20);
        bytes.extend((0x10..0x20).chain(0x10..0x20));
        bytes.extend(0x20..0x28);
        let read = QrCode::decode(&bytes).unwrap();
        assert_eq!((read.mode, &*read.flow_id), (Mode::Another, id));
        assert!(read.first.starts_with("AAECAwQFBg"));
        assert!(read.second.starts_with("EBESExQVFh"));
        assert_eq!(read.secret(), "ICEiIyQlJic");
        assert!(read.is_secret("ICEiIyQlJic") && read.is_secret("ICEiIyQlJic="));
        for other in ["ICEiIyQlJid", "ICEiIyQlJg", "", "?"] {
            assert!(!read.is_secret(other), "{other}");
        }
    }

    #[test]
    fn whatever_else_is_scanned_is_no_code() {
        let made = code(Mode::Another);
        let bytes = made.encode().unwrap();
        let bytes = bytes.expose();
        // Without a secret, or cut off anywhere before.
        for length in 0..bytes.len() - SECRET_BYTES + 1 {
            assert!(QrCode::decode(&bytes[..length]).is_none(), "{length}");
        }
        for (place, value) in [(0, b'm'), (6, 1), (6, 3), (7, 3), (8, 1), (10, 0xff)] {
            let mut other = bytes.to_vec();
            other[place] = value;
            assert!(QrCode::decode(&other).is_none(), "{place}");
        }
        let mut long = bytes.to_vec();
        long.resize(CODE_BYTES_MAX + 1, 0);
        assert!(QrCode::decode(&long).is_none());
        long.pop();
        assert!(QrCode::decode(&long).is_some());
        let keyless = QrCode {
            first: "x".to_owned(),
            ..code(Mode::Another)
        };
        assert!(keyless.encode().is_none());
    }
}
