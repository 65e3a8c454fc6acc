//! The TLS configuration of requests to other servers.
//!
//! Invariant: certificates are always verified, against the system's authorities and those in the configuration; the
//! crypto provider is named here and never taken from the process.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use rustls_platform_verifier::Verifier;

use super::OutboundError;
use crate::config::FederationConfig;

/// Builds the configuration. A machine without any certificate authority gets one that trusts nobody.
pub(super) fn client_config(config: &FederationConfig) -> Result<ClientConfig, OutboundError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| OutboundError::Tls)?;
    let extra = extra_roots(config)?;
    let has_extra = !extra.is_empty();
    // ("Dangerous" is rustls's word for any verifier that is handed in; this one verifies by WebPKI.)
    match Verifier::new_with_extra_roots(extra, provider) {
        Ok(verifier) => Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth()),
        Err(_) if has_extra => Err(OutboundError::CaFile),
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

fn extra_roots(config: &FederationConfig) -> Result<Vec<CertificateDer<'static>>, OutboundError> {
    let mut roots = Vec::new();
    for file in &config.ca_files {
        let before = roots.len();
        let found = CertificateDer::pem_file_iter(file).map_err(|_| OutboundError::CaFile)?;
        for certificate in found {
            roots.push(certificate.map_err(|_| OutboundError::CaFile)?);
        }
        if roots.len() == before {
            return Err(OutboundError::CaFile);
        }
    }
    Ok(roots)
}
