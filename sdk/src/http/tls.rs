//! The TLS configuration, built explicitly.
//!
//! Invariant: the crypto provider is named here and never taken from the process, so that a
//! program with another default, or none, behaves the same.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};

use super::{HttpConfig, HttpSetupError};

/// Builds the configuration; `needed` tells whether the homeserver is spoken to over TLS at all,
/// so that a loopback server can be used on a machine without any root certificates.
pub(super) fn client_config(
    config: &HttpConfig,
    needed: bool,
) -> Result<ClientConfig, HttpSetupError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|_| HttpSetupError::Tls)?;
    if !needed {
        return Ok(builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth());
    }
    if config.only_extra_roots {
        let mut roots = RootCertStore::empty();
        for root in &config.extra_roots {
            roots
                .add(root.clone())
                .map_err(|_| HttpSetupError::RootCertificate)?;
        }
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let verifier = verifier(config, provider)?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// The system's roots and the extra ones. ("Dangerous" is rustls's word for any verifier handed
/// in; this one verifies by WebPKI.)
fn verifier(
    config: &HttpConfig,
    provider: Arc<CryptoProvider>,
) -> Result<rustls_platform_verifier::Verifier, HttpSetupError> {
    rustls_platform_verifier::Verifier::new_with_extra_roots(config.extra_roots.clone(), provider)
        .map_err(|_| HttpSetupError::RootCertificate)
}
