//! Encryption of the store's values, and the keyed hashes that stand for their names.
//!
//! Invariant: a value decrypts only in the row it was written for: the associated data is the row's kind and name, so whoever can write
//! to the file cannot move one row's value to another. Encryption is XChaCha20-Poly1305 with a random nonce for each write.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{clock::Rng, store::StoreError};

/// Length of all keys, in bytes.
pub(super) const KEY_BYTES: usize = 32;

/// Block length of SHA-256, in bytes.
const HMAC_BLOCK_BYTES: usize = 64;

/// Length of a nonce, in bytes.
const NONCE_BYTES: usize = 24;

/// A key of the store; overwritten when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Key(pub(super) [u8; KEY_BYTES]);

impl Key {
    /// A random key.
    pub(super) fn random(rng: &dyn Rng) -> Self {
        let mut key = Self([0; KEY_BYTES]);
        rng.fill(&mut key.0);
        key
    }

    /// Encrypts: nonce, then ciphertext.
    pub(super) fn seal(
        &self,
        plaintext: &[u8],
        place: &[u8],
        rng: &dyn Rng,
    ) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_BYTES];
        rng.fill(&mut nonce);
        let payload = Payload {
            msg: plaintext,
            aad: place,
        };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload);
        let mut out = nonce.to_vec();
        out.extend(sealed.map_err(|_| StoreError::KeyDerivation)?);
        Ok(out)
    }

    /// Decrypts; `None` if it is not what was sealed in that place with this key.
    pub(super) fn open(&self, sealed: &[u8], place: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload {
            msg: ciphertext,
            aad: place,
        };
        let opened = self.cipher().decrypt(&XNonce::from(*nonce), payload);
        opened.ok().map(Zeroizing::new)
    }

    /// A key for another purpose, from which this one cannot be computed.
    fn derive(&self, purpose: &[u8]) -> Self {
        Self(self.mac(&[purpose]))
    }

    /// The parts are told apart by their lengths.
    fn mac(&self, parts: &[&[u8]]) -> [u8; KEY_BYTES] {
        // HMAC fills a short key with zeros to its block's length.
        let mut block = Zeroizing::new([0; HMAC_BLOCK_BYTES]);
        block[..KEY_BYTES].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }
}

/// The keys of an open store.
pub(super) struct StoreCipher {
    values: Key,
    names: Key,
}

impl StoreCipher {
    pub(super) fn new(data_key: &Key) -> Self {
        Self {
            values: data_key.derive(b"passeur store values"),
            names: data_key.derive(b"passeur store names"),
        }
    }

    /// What stands for a name in the file.
    pub(super) fn hash_name(&self, kind: &str, name: &str) -> Vec<u8> {
        self.names.mac(&[kind.as_bytes(), name.as_bytes()]).to_vec()
    }

    /// Encrypts an entry, with its name so that it can be listed.
    pub(super) fn seal_entry(
        &self,
        kind: &str,
        name: &str,
        value: &[u8],
        rng: &dyn Rng,
    ) -> Result<Vec<u8>, StoreError> {
        let length = u32::try_from(name.len()).map_err(|_| StoreError::Database)?;
        let plaintext =
            Zeroizing::new([&length.to_be_bytes()[..], name.as_bytes(), value].concat());
        self.values
            .seal(&plaintext, &place(kind, &self.hash_name(kind, name)), rng)
    }

    /// The name and the value of an entry.
    pub(super) fn open_entry(
        &self,
        kind: &str,
        hash: &[u8],
        sealed: &[u8],
    ) -> Result<(String, Vec<u8>), StoreError> {
        const DAMAGED: StoreError = StoreError::Damaged { what: "an entry" };
        let plaintext = self
            .values
            .open(sealed, &place(kind, hash))
            .ok_or(DAMAGED)?;
        let (length, rest) = plaintext.split_first_chunk::<4>().ok_or(DAMAGED)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| DAMAGED)?;
        let (name, value) = rest.split_at_checked(length).ok_or(DAMAGED)?;
        let name = std::str::from_utf8(name).map_err(|_| DAMAGED)?;
        Ok((name.to_owned(), value.to_vec()))
    }

    /// Encrypts an item of a queue.
    pub(super) fn seal_item(
        &self,
        kind: &str,
        id: i64,
        value: &[u8],
        rng: &dyn Rng,
    ) -> Result<Vec<u8>, StoreError> {
        self.values
            .seal(value, &place(kind, &id.to_be_bytes()), rng)
    }

    /// The value of an item of a queue.
    pub(super) fn open_item(
        &self,
        kind: &str,
        id: i64,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let opened = self.values.open(sealed, &place(kind, &id.to_be_bytes()));
        opened.ok_or(StoreError::Damaged {
            what: "a queue item",
        })
    }
}

fn place(kind: &str, row: &[u8]) -> Vec<u8> {
    [kind.as_bytes(), &[0], row].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemRng;

    #[test]
    fn a_value_opens_in_its_own_row_only() {
        let cipher = StoreCipher::new(&Key::random(&SystemRng));
        let sealed = cipher
            .seal_entry("value", "a", b"secret", &SystemRng)
            .unwrap();
        let hash = cipher.hash_name("value", "a");
        assert_eq!(
            cipher.open_entry("value", &hash, &sealed).unwrap(),
            ("a".to_owned(), b"secret".to_vec())
        );
        assert!(cipher.open_entry("room", &hash, &sealed).is_err());
        assert!(
            cipher
                .open_entry("value", &cipher.hash_name("value", "b"), &sealed)
                .is_err()
        );
        let mut flipped = sealed.clone();
        flipped[30] ^= 1;
        assert!(cipher.open_entry("value", &hash, &flipped).is_err());
        assert!(cipher.open_entry("value", &hash, &[]).is_err());
    }

    #[test]
    fn another_key_opens_nothing() {
        let sealed = StoreCipher::new(&Key::random(&SystemRng))
            .seal_item("inbox", 1, b"x", &SystemRng)
            .unwrap();
        assert!(
            StoreCipher::new(&Key::random(&SystemRng))
                .open_item("inbox", 1, &sealed)
                .is_err()
        );
    }
}
