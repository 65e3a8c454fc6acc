//! Files, encrypted before they are uploaded.
//!
//! Invariant: a file's key and counter are used once; a file's hash is compared before a byte of it is decrypted, since neither the counter
//! nor the ciphertext is authenticated by anything else.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#sending-encrypted-attachments>

use std::fmt;

use aes::Aes256;
use ctr::{
    Ctr64BE,
    cipher::{KeyIvInit, StreamCipher},
};
use ruma::events::room::{
    EncryptedFile, EncryptedFileHash, EncryptedFileHashAlgorithm, EncryptedFileHashes,
    EncryptedFileInfo, V2EncryptedFileInfo,
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::clock::Rng;

/// A file has at most so many bytes: it is held in memory.
pub const ATTACHMENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Random bytes of the counter block; the rest counts from zero.
const NONCE_BYTES: usize = 8;

/// A file to upload, and what the event that refers to it has to say.
#[derive(Clone)]
pub struct EncryptedAttachment {
    /// The bytes to upload, as `application/octet-stream`.
    pub ciphertext: Vec<u8>,
    /// The key and the counter block.
    pub info: EncryptedFileInfo,
    /// The ciphertext's hash.
    pub hashes: EncryptedFileHashes,
}

impl EncryptedAttachment {
    /// What goes into the event, once the upload's address is known.
    pub fn into_file(self, url: ruma::OwnedMxcUri) -> EncryptedFile {
        EncryptedFile::new(url, self.info, self.hashes)
    }
}

impl fmt::Debug for EncryptedAttachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptedAttachment({} bytes)", self.ciphertext.len())
    }
}

/// Why a file is not encrypted or decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttachmentError {
    /// It is larger than [`ATTACHMENT_BYTES_MAX`].
    #[error("the file is too large")]
    TooLarge,
    /// It was encrypted in a way that is not known here.
    #[error("the file's encryption is not supported")]
    UnknownVersion,
    /// There is no hash to compare.
    #[error("the file has no SHA-256 hash")]
    NoHash,
    /// What was downloaded is not what was uploaded.
    #[error("the file is not the one that was sent")]
    HashMismatch,
    /// The counter does not start at zero.
    #[error("the file's counter is malformed")]
    Counter,
}

/// Encrypts a file with a key of its own. The plaintext is encrypted in place.
///
/// # Errors
/// [`AttachmentError::TooLarge`].
pub fn encrypt_attachment(
    mut bytes: Vec<u8>,
    rng: &dyn Rng,
) -> Result<EncryptedAttachment, AttachmentError> {
    if bytes.len() > ATTACHMENT_BYTES_MAX {
        return Err(AttachmentError::TooLarge);
    }
    let mut key = Zeroizing::new([0; 32]);
    rng.fill(&mut *key);
    let mut counter = [0; 16];
    rng.fill(&mut counter[..NONCE_BYTES]);
    apply(&key, counter, &mut bytes);
    let hash = Sha256::digest(&bytes).into();
    Ok(EncryptedAttachment {
        ciphertext: bytes,
        info: V2EncryptedFileInfo::encode(*key, counter).into(),
        hashes: EncryptedFileHashes::with_sha256(hash),
    })
}

/// Decrypts a downloaded file by what the (decrypted) event says of it.
///
/// # Errors
/// [`AttachmentError`] says what does not fit; no byte is decrypted then.
pub fn decrypt_attachment(
    mut bytes: Vec<u8>,
    file: &EncryptedFile,
) -> Result<Vec<u8>, AttachmentError> {
    if bytes.len() > ATTACHMENT_BYTES_MAX {
        return Err(AttachmentError::TooLarge);
    }
    let EncryptedFileInfo::V2(info) = &file.info else {
        return Err(AttachmentError::UnknownVersion);
    };
    let Some(EncryptedFileHash::Sha256(hash)) =
        file.hashes.get(&EncryptedFileHashAlgorithm::Sha256)
    else {
        return Err(AttachmentError::NoHash);
    };
    if !bool::from(Sha256::digest(&bytes).as_slice().ct_eq(hash.as_bytes())) {
        return Err(AttachmentError::HashMismatch);
    }
    let counter = *info.iv.as_inner();
    if counter[NONCE_BYTES..] != [0; 16 - NONCE_BYTES] {
        return Err(AttachmentError::Counter);
    }
    apply(info.k.as_inner(), counter, &mut bytes);
    Ok(bytes)
}

fn apply(key: &[u8; 32], counter: [u8; 16], bytes: &mut [u8]) {
    Ctr64BE::<Aes256>::new(&(*key).into(), &counter.into()).apply_keystream(bytes);
}

#[cfg(test)]
mod tests {
    use ruma::owned_mxc_uri;

    use super::*;
    use crate::clock::SystemRng;

    fn encrypted(bytes: &[u8]) -> (Vec<u8>, EncryptedFile) {
        let mut attachment = encrypt_attachment(bytes.to_vec(), &SystemRng).unwrap();
        let ciphertext = std::mem::take(&mut attachment.ciphertext);
        (
            ciphertext,
            attachment.into_file(owned_mxc_uri!("mxc://a.example/x")),
        )
    }

    fn v2(file: &mut EncryptedFile) -> &mut V2EncryptedFileInfo {
        match &mut file.info {
            EncryptedFileInfo::V2(info) => info,
            _ => panic!("version 2"),
        }
    }

    #[test]
    fn a_file_comes_back_as_it_was() {
        for length in [0, 1, 16, 1000, 70_000] {
            let plaintext = vec![7; length];
            let (ciphertext, file) = encrypted(&plaintext);
            assert!(length < 16 || ciphertext != plaintext);
            assert_eq!(decrypt_attachment(ciphertext, &file).unwrap(), plaintext);
        }
    }

    #[test]
    fn the_specifications_form_is_written_and_read() {
        let (ciphertext, file) = encrypted(b"hello");
        let json = serde_json::to_value(&file).unwrap();
        assert_eq!(
            (json["v"].as_str(), json["key"]["alg"].as_str()),
            (Some("v2"), Some("A256CTR"))
        );
        let read: EncryptedFile = serde_json::from_value(json).unwrap();
        assert_eq!(decrypt_attachment(ciphertext, &read).unwrap(), b"hello");
    }

    #[test]
    fn a_known_ciphertext_decrypts() {
        // Key 00 01 … 1f, counter zero, sixteen zero bytes, as OpenSSL encrypts them.
        let key = std::array::from_fn(|index| u8::try_from(index).unwrap());
        let mut bytes = [0; 16];
        apply(&key, [0; 16], &mut bytes);
        assert_eq!(
            u128::from_be_bytes(bytes),
            0xf290_00b6_2a49_9fd0_a9f3_9a6a_dd2e_7780
        );
    }

    #[test]
    fn a_changed_byte_or_a_missing_hash_or_a_strange_counter_is_refused() {
        let (mut ciphertext, mut file) = encrypted(b"hello");
        ciphertext[0] ^= 1;
        assert_eq!(
            decrypt_attachment(ciphertext.clone(), &file),
            Err(AttachmentError::HashMismatch)
        );
        ciphertext[0] ^= 1;
        let hashes = std::mem::take(&mut file.hashes);
        assert_eq!(
            decrypt_attachment(ciphertext.clone(), &file),
            Err(AttachmentError::NoHash)
        );
        file.hashes = hashes;
        let counter = *v2(&mut file).iv.as_inner();
        let mut flipped = counter;
        flipped[15] ^= 1;
        v2(&mut file).iv = ruma::serde::Base64::new(flipped);
        assert_eq!(
            decrypt_attachment(ciphertext.clone(), &file),
            Err(AttachmentError::Counter)
        );
        v2(&mut file).iv = ruma::serde::Base64::new(counter);
        assert_eq!(decrypt_attachment(ciphertext, &file).unwrap(), b"hello");
    }

    #[test]
    fn nothing_of_the_key_is_printed() {
        let attachment = encrypt_attachment(b"hello".to_vec(), &SystemRng).unwrap();
        assert_eq!(format!("{attachment:?}"), "EncryptedAttachment(5 bytes)");
    }
}
