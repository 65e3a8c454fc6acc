//! The TLS configuration, built explicitly.
//!
//! Invariant: the crypto provider is named here and never taken from the process, so that a
//! program with another default, or none, behaves the same.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

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
    if !config.pinned.is_empty() {
        let pinned = Pinned {
            certificates: config.pinned.clone(),
            provider,
        };
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pinned))
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

/// Takes these certificates and no others, whoever has signed them, for whatever name and however old: who chose one has compared it. That the
/// server holds the certificate's key is checked as always.
#[derive(Debug)]
struct Pinned {
    certificates: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificates.contains(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
