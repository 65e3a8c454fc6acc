//! The TLS configuration of requests to other servers.
//!
//! Invariant: certificates are always verified, against the system's authorities and those in the configuration; the
//! crypto provider is named here and never taken from the process. TLS 1.2 is spoken too, with those who know nothing newer: every
//! cipher that rustls has for it keeps past traffic secret and authenticates it, and a peer that is not reached keeps nobody safe.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use rustls_platform_verifier::Verifier;

use super::OutboundError;
use crate::config::FederationConfig;

/// Builds the configuration. A machine without any certificate authority gets one that trusts nobody.
pub(super) fn client_config(config: &FederationConfig) -> Result<ClientConfig, OutboundError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|_| OutboundError::Tls)?;
    let extra = extra_roots(config)?;
    let has_extra = !extra.is_empty();
    // ("Dangerous" is rustls's word for any verifier that is handed in; this one verifies by WebPKI.)
    match Verifier::new_with_extra_roots(extra, provider) {
        Ok(verifier) => Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth()),
        Err(_) if has_extra => Err(OutboundError::CaCertificate),
        Err(_) => {
            tracing::warn!(
                "no certificate authority is installed: no other server can be verified"
            );
            Ok(builder
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth())
        }
    }
}

/// Whether requests can be set up, as far as files tell.
///
/// # Errors
/// [`OutboundError::CaFile`], [`OutboundError::CaCertificate`].
pub fn check(config: &FederationConfig) -> Result<(), OutboundError> {
    client_config(config).map(|_| ())
}

fn extra_roots(config: &FederationConfig) -> Result<Vec<CertificateDer<'static>>, OutboundError> {
    let mut roots = Vec::new();
    for file in &config.ca_files {
        let unreadable = || OutboundError::CaFile(file.clone());
        let before = roots.len();
        let found = CertificateDer::pem_file_iter(file).map_err(|_| unreadable())?;
        for certificate in found {
            roots.push(certificate.map_err(|_| unreadable())?);
        }
        if roots.len() == before {
            return Err(unreadable());
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cipher_has_forward_secrecy_and_authenticates() {
        let config = client_config(&FederationConfig::default()).unwrap();
        let suites = &config.crypto_provider().cipher_suites;
        assert!(!suites.is_empty());
        for suite in suites {
            let name = format!("{:?}", suite.suite());
            let is_new = name.starts_with("TLS13_");
            let is_ephemeral = name.starts_with("TLS_ECDHE_");
            let is_authenticated = name.contains("_GCM_") || name.contains("_POLY1305_");
            assert!((is_new || is_ephemeral) && is_authenticated, "{name}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "no certificate").unwrap();
        let config = FederationConfig {
            ca_files: vec![file.clone()],
            ..FederationConfig::default()
        };
        assert_eq!(check(&config), Err(OutboundError::CaFile(file)));
    }
}
