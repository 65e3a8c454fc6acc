//! Passwords as Argon2id hashes.
//!
//! Invariant: hashing runs on threads that may block, few at once, with a bounded queue; verifying
//! against no hash at all takes as long as against a real one.

use std::sync::{Arc, OnceLock};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version,
    password_hash::phc::PasswordHash,
};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::{clock::Rng, config::PasswordsConfig, store::StoreError};

/// The longest password, in bytes: more costs hashing time and adds nothing.
pub(crate) const PASSWORD_BYTES_MAX: usize = 512;
/// The shortest password, in characters, that a user may choose.
pub(crate) const PASSWORD_CHARS_MIN: usize = 8;
/// How many hashes are computed at once: each takes a core and tens of megabytes.
const HASHES_AT_ONCE_MAX: usize = 2;
/// How many may be computed or waited for; beyond it clients are told to come again.
const HASHES_WAITING_MAX: usize = 64;
/// Bytes of salt, as RFC 9106 recommends.
const SALT_BYTES: usize = 16;

/// Why a password could not be hashed or verified.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many are waiting.
    #[error("too many passwords wait to be hashed")]
    Busy,
    /// It is longer than any password may be.
    #[error("the password is too long")]
    TooLong,
    /// It is too easy to guess.
    #[error("the password is too short")]
    TooShort,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The hash could not be computed, or the stored one is unreadable.
    #[error("hashing failed")]
    Hashing,
}

/// Hashes and verifies passwords.
#[derive(Debug)]
pub struct Passwords {
    config: PasswordsConfig,
    rng: Arc<dyn Rng>,
    running: Semaphore,
    waiting: Semaphore,
    /// A hash of nothing, against which passwords of unknown accounts are verified.
    decoy: Arc<OnceLock<String>>,
}

impl Passwords {
    pub(super) fn new(config: PasswordsConfig, rng: Arc<dyn Rng>) -> Self {
        Self {
            config,
            rng,
            running: Semaphore::new(HASHES_AT_ONCE_MAX),
            waiting: Semaphore::new(HASHES_WAITING_MAX),
            decoy: Arc::default(),
        }
    }

    /// Whether a user may choose this password.
    ///
    /// # Errors
    /// [`PasswordError::TooShort`] or [`PasswordError::TooLong`].
    pub fn check_new(&self, password: &str) -> Result<(), PasswordError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordError::TooLong);
        }
        if password.chars().take(PASSWORD_CHARS_MIN).count() < PASSWORD_CHARS_MIN {
            return Err(PasswordError::TooShort);
        }
        Ok(())
    }

    /// The hash of a password with a new salt, in PHC form.
    ///
    /// # Errors
    /// [`PasswordError::TooLong`], [`PasswordError::Busy`], [`PasswordError::Hashing`].
    pub async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let salt = self.salt();
        let config = self.config;
        self.run(password, move |password| hash(config, password, &salt))
            .await
    }

    /// Whether `password` gives `hash`. With no hash the answer is no, after the same work.
    ///
    /// # Errors
    /// [`PasswordError::Busy`], [`PasswordError::Hashing`]. A password that is too long is wrong.
    pub async fn verify(
        &self,
        password: &str,
        stored: Option<String>,
    ) -> Result<bool, PasswordError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let decoy = Arc::clone(&self.decoy);
        let salt = self.salt();
        let config = self.config;
        self.run(password, move |password| {
            if let Some(stored) = stored {
                return verify(password, &stored);
            }
            // Made once, by the first who needs it; that one attempt takes twice as long.
            let decoy = match decoy.get() {
                Some(decoy) => decoy.clone(),
                None => {
                    let made = hash(config, b"", &salt)?;
                    decoy.get_or_init(|| made).clone()
                }
            };
            verify(password, &decoy)?;
            Ok(false)
        })
        .await
    }

    fn salt(&self) -> [u8; SALT_BYTES] {
        let mut salt = [0; SALT_BYTES];
        self.rng.fill(&mut salt);
        salt
    }

    async fn run<T: Send + 'static>(
        &self,
        password: &str,
        work: impl FnOnce(&[u8]) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordError::TooLong);
        }
        let _place = self
            .waiting
            .try_acquire()
            .map_err(|_| PasswordError::Busy)?;
        let _turn = self
            .running
            .acquire()
            .await
            .map_err(|_| PasswordError::Busy)?;
        let password = Zeroizing::new(password.as_bytes().to_vec());
        tokio::task::spawn_blocking(move || work(&password))
            .await
            .map_err(|_| PasswordError::Hashing)?
    }
}

fn hash(config: PasswordsConfig, password: &[u8], salt: &[u8]) -> Result<String, PasswordError> {
    let params = Params::new(
        config.memory_kib,
        config.iterations,
        config.parallelism,
        None,
    )
    .map_err(|_| PasswordError::Hashing)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2
        .hash_password_with_salt(password, salt)
        .map_err(|_| PasswordError::Hashing)?;
    Ok(hash.to_string())
}

fn verify(password: &[u8], stored: &str) -> Result<bool, PasswordError> {
    let stored = PasswordHash::new(stored).map_err(|_| PasswordError::Hashing)?;
    // The costs are those of the stored hash.
    Ok(Argon2::default().verify_password(password, &stored).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededRng;

    fn passwords() -> Passwords {
        let config = PasswordsConfig {
            memory_kib: 8,
            iterations: 1,
            parallelism: 1,
        };
        Passwords::new(config, Arc::new(SeededRng::new(1)))
    }

    #[tokio::test]
    async fn only_the_right_password_gives_the_hash() {
        let passwords = passwords();
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        let stored = Some(hash.clone());
        assert!(
            passwords
                .verify("correct horse", stored.clone())
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("correct horsf", stored.clone())
                .await
                .unwrap()
        );
        assert!(!passwords.verify(&"x".repeat(10_000), stored).await.unwrap());
        assert!(!passwords.verify("", None).await.unwrap());
        assert_ne!(passwords.hash("correct horse").await.unwrap(), hash);
    }

    #[test]
    fn passwords_have_a_least_and_a_greatest_length() {
        let passwords = passwords();
        assert!(passwords.check_new("ééééééé").is_err());
        assert!(passwords.check_new("éééééééé").is_ok());
        assert!(
            passwords
                .check_new(&"x".repeat(PASSWORD_BYTES_MAX + 1))
                .is_err()
        );
    }
}
