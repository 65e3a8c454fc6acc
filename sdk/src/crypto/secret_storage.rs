//! Secret storage: secrets in the account data, encrypted by a key that only the user has.
//!
//! Invariant: a secret is decrypted only after its MAC was compared, and the key of a storage is compared with the storage's own check
//! before it is used. A recovery key with a wrong checksum is refused before anything is done with it.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#secret-storage>

use aes::Aes256;
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit, StreamCipher},
};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use pbkdf2::pbkdf2;
use ruma::serde::JsonObject;
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};
use vodozemac::base64_encode;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{account::text, key_export::mac_by, secret::SecretBytes};
use crate::clock::Rng;

/// The only algorithm that is known.
const ALGORITHM: &str = "m.secret_storage.v1.aes-hmac-sha2";

/// Rounds of deriving a key from a passphrase.
const ROUNDS: u32 = 500_000;

/// More rounds than this are not made, whatever the account data say.
const ROUNDS_MAX: u64 = 10_000_000;

/// A larger secret is not decrypted, in bytes.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// What a recovery key begins with before it is encoded.
const RECOVERY_PREFIX: [u8; 2] = [0x8b, 0x01];

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Why a secret storage cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretStorageError {
    /// What was typed is no recovery key: a character is missing or wrong.
    #[error("this is not a recovery key: look for a character that is missing or wrong")]
    NotAKey,
    /// It is another storage's key or passphrase.
    #[error("the key or passphrase is not this storage's")]
    WrongKey,
    /// The storage is of a kind that is not known here, or malformed.
    #[error("the secret storage is of an unknown kind")]
    Unsupported,
    /// A secret was changed by whoever keeps it.
    #[error("the secret was tampered with")]
    Tampered,
}

/// The key of a secret storage.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretStorageKey([u8; 32]);

impl std::fmt::Debug for SecretStorageKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretStorageKey")
    }
}

/// Keys for one secret, derived from the storage's.
struct Derived(Zeroizing<[u8; 64]>);

impl Derived {
    fn apply(&self, iv: [u8; 16], bytes: &mut [u8]) {
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&self.0[..32]);
        Ctr128BE::<Aes256>::new((&*key).into(), &iv.into()).apply_keystream(bytes);
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac = mac_by(&self.0[32..]);
        mac.update(bytes);
        mac
    }
}

impl SecretStorageKey {
    /// A random key.
    pub fn random(rng: &dyn Rng) -> Self {
        let mut key = Self([0; 32]);
        rng.fill(&mut key.0);
        key
    }

    /// The key that a passphrase gives, with a fresh salt, and what the storage's description has to say about it. Takes some
    /// tenths of a second.
    pub fn from_new_passphrase(passphrase: &str, rng: &dyn Rng) -> (Self, Value) {
        let salt = rng.name();
        let key = Self::derive(passphrase, &salt, ROUNDS);
        let description = json!({
            "algorithm": "m.pbkdf2", "salt": salt, "iterations": ROUNDS, "bits": 256,
        });
        (key, description)
    }

    fn derive(passphrase: &str, salt: &str, rounds: u32) -> Self {
        let mut key = Self([0; 32]);
        // Fails only for keys that are empty.
        let _ = pbkdf2::<Hmac<Sha512>>(passphrase.as_bytes(), salt.as_bytes(), rounds, &mut key.0);
        key
    }

    /// The key that a person typed, a recovery key or a passphrase, if it is that of the storage that `description` describes
    /// (`m.secret_storage.key.…`).
    ///
    /// # Errors
    /// [`SecretStorageError`].
    pub fn open(typed: &str, description: &JsonObject) -> Result<Self, SecretStorageError> {
        if text(description, "algorithm") != Some(ALGORITHM) {
            return Err(SecretStorageError::Unsupported);
        }
        let key = match (
            Self::from_recovery_key(typed),
            description.get("passphrase"),
        ) {
            (Ok(key), _) => key,
            (Err(_), Some(passphrase)) => Self::from_passphrase(typed, passphrase)?,
            (Err(error), None) => return Err(error),
        };
        key.check(description)?;
        Ok(key)
    }

    fn from_passphrase(typed: &str, passphrase: &Value) -> Result<Self, SecretStorageError> {
        let known = passphrase.get("algorithm").and_then(Value::as_str) == Some("m.pbkdf2")
            && passphrase.get("bits").is_none_or(|bits| bits == 256);
        let salt = passphrase.get("salt").and_then(Value::as_str);
        let rounds = passphrase
            .get("iterations")
            .and_then(Value::as_u64)
            .filter(|rounds| (1..=ROUNDS_MAX).contains(rounds))
            .and_then(|rounds| u32::try_from(rounds).ok());
        match (known, salt, rounds) {
            (true, Some(salt), Some(rounds)) => Ok(Self::derive(typed, salt, rounds)),
            _ => Err(SecretStorageError::Unsupported),
        }
    }

    /// The key for a person to write down, in groups of four characters.
    pub fn recovery_key(&self) -> SecretBytes {
        let mut bytes = Zeroizing::new(RECOVERY_PREFIX.to_vec());
        bytes.extend_from_slice(&self.0);
        let parity = bytes.iter().fold(0, |parity, byte| parity ^ byte);
        bytes.push(parity);
        let encoded = Zeroizing::new(encode_base58(&bytes));
        SecretBytes::new(super::signing::grouped(&encoded).into_bytes())
    }

    /// The key of a recovery key; white space does not matter.
    ///
    /// # Errors
    /// [`SecretStorageError::NotAKey`].
    pub fn from_recovery_key(typed: &str) -> Result<Self, SecretStorageError> {
        let typed = Zeroizing::new(typed.split_whitespace().collect::<String>());
        let bytes = decode_base58(&typed).ok_or(SecretStorageError::NotAKey)?;
        let right = bytes.len() == 35
            && bytes.starts_with(&RECOVERY_PREFIX)
            && bytes.iter().fold(0, |parity, byte| parity ^ byte) == 0;
        let mut key = Self([0; 32]);
        match bytes.get(2..34).filter(|_| right) {
            Some(middle) => key.0.copy_from_slice(middle),
            None => return Err(SecretStorageError::NotAKey),
        }
        Ok(key)
    }

    fn derived(&self, name: &str) -> Derived {
        let mut keys = Zeroizing::new([0; 64]);
        // Fails only for outputs of more than 255 blocks.
        let _ = Hkdf::<Sha256>::new(Some(&[0; 32]), &self.0).expand(name.as_bytes(), &mut *keys);
        Derived(keys)
    }

    /// The description of a new storage with this key, for `m.secret_storage.key.ID`. `passphrase` is what
    /// [`from_new_passphrase`](Self::from_new_passphrase) gave.
    pub fn describe(&self, passphrase: Option<Value>, rng: &dyn Rng) -> JsonObject {
        let (iv, _, mac) = self.seal("", &[0; 32], rng);
        let mut description = JsonObject::from_iter([
            ("algorithm".to_owned(), ALGORITHM.into()),
            ("iv".to_owned(), iv.into()),
            ("mac".to_owned(), mac.into()),
        ]);
        if let Some(passphrase) = passphrase {
            description.insert("passphrase".to_owned(), passphrase);
        }
        description
    }

    /// Whether this is the key that a description describes.
    fn check(&self, description: &JsonObject) -> Result<(), SecretStorageError> {
        let (Some(iv), Some(mac)) = (text(description, "iv"), text(description, "mac")) else {
            // Without them, the specification says, the key is to be taken for right: a wrong one then fails at the first secret.
            return Ok(());
        };
        let iv = decode_iv(iv).ok_or(SecretStorageError::Unsupported)?;
        let mac = decode(mac).ok_or(SecretStorageError::Unsupported)?;
        let derived = self.derived("");
        let mut zeros = [0; 32];
        derived.apply(iv, &mut zeros);
        let checked = derived.mac(&zeros).verify_slice(&mac);
        checked.map_err(|_| SecretStorageError::WrongKey)
    }

    fn seal(&self, name: &str, secret: &[u8], rng: &dyn Rng) -> (String, String, String) {
        let mut iv = [0; 16];
        rng.fill(&mut iv);
        // Bit 63, which implementations of the counter treat differently.
        iv[8] &= 0x7f;
        let derived = self.derived(name);
        let mut bytes = secret.to_vec();
        derived.apply(iv, &mut bytes);
        let mac = derived.mac(&bytes).finalize().into_bytes();
        (base64_encode(iv), base64_encode(&bytes), base64_encode(mac))
    }

    /// Encrypts a secret, for the account data of its name: the whole content, under this storage's id.
    pub fn encrypt(
        &self,
        key_id: &str,
        name: &str,
        secret: &SecretBytes,
        rng: &dyn Rng,
    ) -> JsonObject {
        let (iv, ciphertext, mac) = self.seal(name, secret.expose(), rng);
        let sealed = json!({ key_id: { "iv": iv, "ciphertext": ciphertext, "mac": mac } });
        JsonObject::from_iter([("encrypted".to_owned(), sealed)])
    }

    /// Decrypts a secret from the account data of its name; `None` if this storage does not hold it.
    ///
    /// # Errors
    /// [`SecretStorageError::Tampered`] if it is not what was put there.
    pub fn decrypt(
        &self,
        key_id: &str,
        name: &str,
        content: &JsonObject,
    ) -> Result<Option<SecretBytes>, SecretStorageError> {
        let sealed = content
            .get("encrypted")
            .and_then(|all| all.get(key_id))
            .and_then(Value::as_object);
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let part = |name: &str| text(sealed, name).filter(|part| part.len() <= SECRET_BYTES_MAX);
        let iv = part("iv").and_then(decode_iv);
        let ciphertext = part("ciphertext").and_then(decode);
        let mac = part("mac").and_then(decode);
        let (Some(iv), Some(mut bytes), Some(mac)) = (iv, ciphertext, mac) else {
            return Err(SecretStorageError::Tampered);
        };
        let derived = self.derived(name);
        if derived.mac(&bytes).verify_slice(&mac).is_err() {
            return Err(SecretStorageError::Tampered);
        }
        derived.apply(iv, &mut bytes);
        Ok(Some(SecretBytes::new(bytes)))
    }
}

/// Base64, with or without padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    vodozemac::base64_decode(text.trim_end_matches('=')).ok()
}

fn decode_iv(text: &str) -> Option<[u8; 16]> {
    decode(text)?.try_into().ok()
}

fn encode_base58(bytes: &[u8]) -> String {
    // Digits of the number in base 58, the lowest first.
    let mut digits: Vec<u8> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let encoded = digits.iter().rev().map(|digit| *digit as usize);
    let encoded = std::iter::repeat_n(0, zeros).chain(encoded);
    let text = encoded.map(|digit| char::from(BASE58[digit])).collect();
    digits.zeroize();
    text
}

fn decode_base58(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    /// Longer than any key that is known.
    const CHARS_MAX: usize = 128;
    if text.len() > CHARS_MAX {
        return None;
    }
    // Bytes of the number, the lowest first.
    let mut bytes = Zeroizing::new(Vec::new());
    for character in text.bytes() {
        let digit = BASE58.iter().position(|known| *known == character)?;
        let mut carry = u32::try_from(digit).ok()?;
        for byte in bytes.iter_mut() {
            carry += u32::from(*byte) * 58;
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        while carry > 0 {
            bytes.push(carry.to_le_bytes()[0]);
            carry >>= 8;
        }
    }
    let zeros = text.bytes().take_while(|byte| *byte == b'1').count();
    bytes.extend(std::iter::repeat_n(0, zeros));
    bytes.reverse();
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemRng;

    fn object(value: Value) -> JsonObject {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_recovery_key_comes_back_and_a_mistyped_one_is_refused() {
        let key = SecretStorageKey::random(&SystemRng);
        let shown = key.recovery_key();
        let shown = std::str::from_utf8(shown.expose()).unwrap();
        assert_eq!(SecretStorageKey::from_recovery_key(shown).unwrap().0, key.0);
        for (from, to) in [('E', 'F'), ('s', 't')] {
            let typed = shown.replacen(from, &to.to_string(), 1);
            if typed != shown {
                let refused = SecretStorageKey::from_recovery_key(&typed);
                assert_eq!(refused.unwrap_err(), SecretStorageError::NotAKey);
            }
        }
        for junk in ["", "0OIl", "EsT", &"E".repeat(500)] {
            let refused = SecretStorageKey::from_recovery_key(junk);
            assert_eq!(refused.unwrap_err(), SecretStorageError::NotAKey);
        }
    }

    #[test]
    fn the_specifications_example_is_read() {
        // 32 bytes 0x01 … 0x20, as the common key representation writes them.
        let bytes: [u8; 32] = std::array::from_fn(|index| u8::try_from(index + 1).unwrap());
        let key = SecretStorageKey(bytes);
        let shown = key.recovery_key();
        assert!(shown.expose().starts_with(b"EsT"));
        let typed = std::str::from_utf8(shown.expose()).unwrap();
        assert_eq!(SecretStorageKey::from_recovery_key(typed).unwrap().0, bytes);
        assert_eq!(encode_base58(b"\0\0Hello World!"), "112NEpo7TZRRrLZSi2U");
        assert_eq!(
            decode_base58("112NEpo7TZRRrLZSi2U").unwrap().as_slice(),
            b"\0\0Hello World!"
        );
    }

    #[test]
    fn a_storage_knows_its_key_and_passphrase() {
        let (key, passphrase) = {
            // Fewer rounds than are used, so that the test is quick.
            let key = SecretStorageKey::derive("correct horse", "salt", 5);
            let passphrase = json!({"algorithm": "m.pbkdf2", "salt": "salt", "iterations": 5});
            (key, passphrase)
        };
        let description = key.describe(Some(passphrase), &SystemRng);
        let opened = SecretStorageKey::open("correct horse", &description).unwrap();
        assert_eq!(opened.0, key.0);
        let shown = key.recovery_key();
        let typed = std::str::from_utf8(shown.expose()).unwrap();
        assert_eq!(
            SecretStorageKey::open(typed, &description).unwrap().0,
            key.0
        );
        assert_eq!(
            SecretStorageKey::open("battery staple", &description).unwrap_err(),
            SecretStorageError::WrongKey
        );
        let mut endless = description;
        endless["passphrase"]["iterations"] = u64::MAX.into();
        assert_eq!(
            SecretStorageKey::open("x", &endless).unwrap_err(),
            SecretStorageError::Unsupported
        );
    }

    #[test]
    fn a_secret_is_read_under_its_own_name_and_unchanged_only() {
        let key = SecretStorageKey::random(&SystemRng);
        let secret = SecretBytes::new(b"hunter2".to_vec());
        let mut content = key.encrypt("k", "m.secret", &secret, &SystemRng);
        assert_eq!(key.decrypt("k", "m.secret", &content), Ok(Some(secret)));
        assert_eq!(key.decrypt("other", "m.secret", &content), Ok(None));
        assert_eq!(
            key.decrypt("k", "m.other", &content),
            Err(SecretStorageError::Tampered)
        );
        // The initialisation vector is not covered by the MAC, so flipping it garbles the secret; that what comes out is what is
        // wanted has to be seen from the secret itself: a private key is compared with its public half.
        let sealed = content["encrypted"]["k"]["ciphertext"].as_str().unwrap();
        let mut bytes = decode(sealed).unwrap();
        bytes[0] ^= 1;
        content["encrypted"]["k"]["ciphertext"] = base64_encode(&bytes).into();
        assert_eq!(
            key.decrypt("k", "m.secret", &content),
            Err(SecretStorageError::Tampered)
        );
    }

    #[test]
    fn padding_of_base64_is_borne() {
        let key = SecretStorageKey::random(&SystemRng);
        let mut description = key.describe(None, &SystemRng);
        for field in ["iv", "mac"] {
            let padded = format!("{}=", description[field].as_str().unwrap());
            description[field] = padded.into();
        }
        assert_eq!(key.check(&description), Ok(()));
        assert_eq!(
            SecretStorageKey::random(&SystemRng).check(&description),
            Err(SecretStorageError::WrongKey)
        );
        let other = object(json!({"algorithm": "m.other"}));
        assert_eq!(
            SecretStorageKey::open("x", &other).unwrap_err(),
            SecretStorageError::Unsupported
        );
    }
}
