//! A certificate authority made on the fly.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

/// The authority. Its private key is never written.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    /// Makes one, and writes its certificate into `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self, String> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "Passeur demo authority");
        let issuer = KeyPair::generate()
            .and_then(|key| CertifiedIssuer::self_signed(params, key))
            .map_err(|error| format!("no certificate authority: {error}"))?;
        let file = folder.join("ca.pem");
        write_private(&file, &issuer.pem())?;
        Ok(Self { issuer, file })
    }

    /// The PEM file of the authority's certificate.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Writes a certificate for `host`, and its key, as `tls.crt` and `tls.key` into `folder`.
    pub(crate) fn issue(&self, host: &str, folder: &Path) -> Result<(), String> {
        let make = || {
            let mut params = CertificateParams::new(vec![host.to_owned()])?;
            params.use_authority_key_identifier_extension = true;
            params.distinguished_name.push(DnType::CommonName, host);
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &self.issuer)?;
            Ok((certificate.pem(), key.serialize_pem()))
        };
        let (certificate, key) =
            make().map_err(|error: rcgen::Error| format!("no certificate: {error}"))?;
        write_private(&folder.join("tls.crt"), &certificate)?;
        write_private(&folder.join("tls.key"), &key)
    }
}

/// Writes a new file that only its owner may read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), String> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}
