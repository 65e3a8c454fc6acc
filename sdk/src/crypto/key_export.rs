//! The file in which a person carries room keys from one client to another, encrypted by a passphrase.
//!
//! Invariant: nothing of a file is decrypted before its MAC is right; the work that a file can ask for is bounded.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#key-exports>

use aes::Aes256;
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit, StreamCipher},
};
use hmac::{Hmac, KeyInit, Mac};
use pbkdf2::pbkdf2;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use super::secret::SecretBytes;
use crate::clock::Rng;

/// Rounds of deriving the key from the passphrase.
const ROUNDS: u32 = 500_000;

/// More rounds than this are not made, whatever a file says.
const ROUNDS_MAX: u32 = 10_000_000;

/// A larger file is not read, in bytes.
pub const KEY_EXPORT_BYTES_MAX: usize = 256 * 1024 * 1024;

const HEADER: &str = "-----BEGIN MEGOLM SESSION DATA-----";
const FOOTER: &str = "-----END MEGOLM SESSION DATA-----";
const VERSION: u8 = 1;
const SALT_BYTES: usize = 16;
const IV_BYTES: usize = 16;
const MAC_BYTES: usize = 32;
const PREFIX_BYTES: usize = 1 + SALT_BYTES + IV_BYTES + 4;
/// Characters of base64 in a line.
const LINE_CHARS: usize = 76;

/// Why a file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyExportError {
    /// It is no key export, or one of a kind that is not known here.
    #[error("this is not a file of exported keys")]
    Malformed,
    /// The passphrase is another, or the file was changed.
    #[error("the passphrase is wrong, or the file was damaged")]
    WrongPassphrase,
    /// It is too large, or asks for too much work.
    #[error("the file is too large")]
    TooLarge,
}

/// The two keys that a passphrase gives.
struct Keys(Zeroizing<[u8; 64]>);

impl Keys {
    fn derive(passphrase: &str, salt: &[u8], rounds: u32) -> Self {
        let mut keys = Zeroizing::new([0; 64]);
        // Fails only for keys that are empty.
        let _ = pbkdf2::<Hmac<Sha512>>(passphrase.as_bytes(), salt, rounds, &mut *keys);
        Self(keys)
    }

    fn apply(&self, iv: [u8; IV_BYTES], bytes: &mut [u8]) {
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&self.0[..32]);
        Ctr128BE::<Aes256>::new((&*key).into(), &iv.into()).apply_keystream(bytes);
    }

    fn mac(&self) -> Hmac<Sha256> {
        mac_by(&self.0[32..])
    }
}

/// HMAC-SHA256 by a key of at most 64 bytes.
pub(super) fn mac_by(key: &[u8]) -> Hmac<Sha256> {
    // HMAC fills a short key with zeros to its block's length.
    let mut block = Zeroizing::new([0; 64]);
    for (place, byte) in block.iter_mut().zip(key) {
        *place = *byte;
    }
    Hmac::<Sha256>::new((&*block).into())
}

/// Encrypts keys, as [`export_room_keys`](super::OlmMachine::export_room_keys) gives them, for a file. Takes some tenths of a second.
pub fn encrypt_key_export(keys: &SecretBytes, passphrase: &str, rng: &dyn Rng) -> String {
    encrypt_with(keys, passphrase, ROUNDS, rng)
}

pub(super) fn encrypt_with(
    keys: &SecretBytes,
    passphrase: &str,
    rounds: u32,
    rng: &dyn Rng,
) -> String {
    let (mut salt, mut iv) = ([0; SALT_BYTES], [0; IV_BYTES]);
    rng.fill(&mut salt);
    rng.fill(&mut iv);
    // Bit 63, which implementations of the counter treat differently.
    iv[8] &= 0x7f;
    let derived = Keys::derive(passphrase, &salt, rounds);
    let mut file = Vec::with_capacity(PREFIX_BYTES + keys.expose().len() + MAC_BYTES);
    file.push(VERSION);
    file.extend_from_slice(&salt);
    file.extend_from_slice(&iv);
    file.extend_from_slice(&rounds.to_be_bytes());
    file.extend_from_slice(keys.expose());
    if let Some(ciphertext) = file.get_mut(PREFIX_BYTES..) {
        derived.apply(iv, ciphertext);
    }
    let mut mac = derived.mac();
    mac.update(&file);
    file.extend_from_slice(&mac.finalize().into_bytes());
    let encoded = vodozemac::base64_encode(&file);
    let mut text = format!("{HEADER}\n");
    for line in encoded.as_bytes().chunks(LINE_CHARS) {
        // Base64 is ASCII, wherever it is cut.
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(FOOTER);
    text.push('\n');
    text
}

/// Decrypts a file of keys, for [`import_room_keys`](super::OlmMachine::import_room_keys).
///
/// # Errors
/// [`KeyExportError`].
pub fn decrypt_key_export(file: &str, passphrase: &str) -> Result<SecretBytes, KeyExportError> {
    if file.len() > KEY_EXPORT_BYTES_MAX {
        return Err(KeyExportError::TooLarge);
    }
    let body = file
        .split_once(HEADER)
        .and_then(|(_, rest)| rest.split_once(FOOTER));
    let (body, _) = body.ok_or(KeyExportError::Malformed)?;
    let encoded: String = body.split_whitespace().collect();
    let mut file = vodozemac::base64_decode(encoded.trim_end_matches('='))
        .map_err(|_| KeyExportError::Malformed)?;
    let Some(end) = file
        .len()
        .checked_sub(MAC_BYTES)
        .filter(|end| *end >= PREFIX_BYTES && file.first() == Some(&VERSION))
    else {
        return Err(KeyExportError::Malformed);
    };
    let mac = file.split_off(end);
    let (prefix, ciphertext) = file.split_at_mut(PREFIX_BYTES);
    let (salt, iv, rounds) = split_prefix(prefix).ok_or(KeyExportError::Malformed)?;
    if rounds > ROUNDS_MAX {
        return Err(KeyExportError::TooLarge);
    }
    let derived = Keys::derive(passphrase, &salt, rounds);
    let mut expected = derived.mac();
    expected.update(prefix);
    expected.update(ciphertext);
    if expected.verify_slice(&mac).is_err() {
        return Err(KeyExportError::WrongPassphrase);
    }
    derived.apply(iv, ciphertext);
    Ok(SecretBytes::new(file.split_off(PREFIX_BYTES)))
}

fn split_prefix(prefix: &[u8]) -> Option<([u8; SALT_BYTES], [u8; IV_BYTES], u32)> {
    let (salt, rest) = prefix.get(1..)?.split_first_chunk::<SALT_BYTES>()?;
    let (iv, rest) = rest.split_first_chunk::<IV_BYTES>()?;
    let (rounds, _) = rest.split_first_chunk::<4>()?;
    Some((*salt, *iv, u32::from_be_bytes(*rounds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemRng;

    #[test]
    fn keys_come_back_with_the_passphrase_and_not_with_another() {
        let keys = SecretBytes::new(b"[{\"a\":1}]".to_vec());
        let file = encrypt_with(&keys, "correct horse", 10, &SystemRng);
        assert!(file.starts_with(HEADER) && file.trim_end().ends_with(FOOTER));
        assert_eq!(decrypt_key_export(&file, "correct horse").unwrap(), keys);
        assert_eq!(
            decrypt_key_export(&file, "battery staple"),
            Err(KeyExportError::WrongPassphrase)
        );
    }

    #[test]
    fn a_changed_file_is_refused() {
        let keys = SecretBytes::new(vec![b' '; 200]);
        let file = encrypt_with(&keys, "x", 10, &SystemRng);
        let place = HEADER.len() + 100;
        let mut bytes = file.into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let file = String::from_utf8(bytes).unwrap();
        assert_eq!(
            decrypt_key_export(&file, "x"),
            Err(KeyExportError::WrongPassphrase)
        );
        for junk in ["", HEADER, &format!("{HEADER}\nAAAA\n{FOOTER}"), "x"] {
            assert_eq!(
                decrypt_key_export(junk, "x"),
                Err(KeyExportError::Malformed)
            );
        }
    }

    #[test]
    fn a_file_cannot_ask_for_endless_work() {
        let mut file = vec![0; PREFIX_BYTES + MAC_BYTES];
        file[0] = VERSION;
        file[PREFIX_BYTES - 4..PREFIX_BYTES].copy_from_slice(&u32::MAX.to_be_bytes());
        let text = format!("{HEADER}\n{}\n{FOOTER}", vodozemac::base64_encode(file));
        assert_eq!(
            decrypt_key_export(&text, "x"),
            Err(KeyExportError::TooLarge)
        );
    }
}
