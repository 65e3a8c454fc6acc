//! TLS 1.3 by rustls and ring, with a certificate that can be replaced while serving.
//!
//! Invariant: a certificate that is used fits its key; one that does not leaves the one before in use.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::ListenerError;
use crate::config::TlsConfig;

/// A certificate chain with its key.
#[derive(Debug, Clone)]
pub(super) struct Certificate(Arc<CertifiedKey>);

/// The certificate of a listener, read again on demand.
#[derive(Debug)]
pub(super) struct ReloadingCertificate {
    /// Where it is read from.
    files: TlsConfig,
    /// The one in use.
    current: RwLock<Certificate>,
}

impl Certificate {
    /// Reads a chain and its key, both PEM, and checks that they fit.
    pub(super) fn load(files: &TlsConfig) -> Result<Self, ListenerError> {
        let wrong = |file: &std::path::Path, reason: String| ListenerError::Certificate {
            file: file.to_owned(),
            reason,
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
            .and_then(Iterator::collect)
            .map_err(|error| {
                wrong(
                    &files.certificate,
                    format!("cannot be read as PEM: {error}"),
                )
            })?;
        if chain.is_empty() {
            return Err(wrong(&files.certificate, "holds no certificate".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| {
            wrong(
                &files.key,
                format!("cannot be read as the PEM of a private key: {error}"),
            )
        })?;
        CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map(|certified| Self(Arc::new(certified)))
            .map_err(|error| {
                wrong(
                    &files.key,
                    format!("does not fit {}: {error}", files.certificate.display()),
                )
            })
    }
}

impl ReloadingCertificate {
    /// Reads the files again.
    pub(super) fn reload(&self) -> Result<(), ListenerError> {
        let next = Certificate::load(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

/// Reads the certificate of a listener, and says how to shake hands with it.
pub(super) fn open(
    files: &TlsConfig,
) -> Result<(Arc<ReloadingCertificate>, Arc<ServerConfig>), ListenerError> {
    let current = RwLock::new(Certificate::load(files)?);
    let certificate = Arc::new(ReloadingCertificate {
        files: files.clone(),
        current,
    });
    let shown: Arc<dyn ResolvesServerCert> = Arc::clone(&certificate) as _;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((certificate, Arc::new(config)))
}

impl ResolvesServerCert for ReloadingCertificate {
    fn resolve(&self, _client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current.0))
    }
}
