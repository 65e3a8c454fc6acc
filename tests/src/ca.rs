//! A certificate authority of a test's own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

use crate::net;

/// A certificate authority, its files in a temporary folder.
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key, each in a PEM file.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl TestCa {
    /// Makes a new authority.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "Passeur test authority");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a root certificate");
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("the root's file");
        Self { issuer, folder }
    }

    /// The PEM file of the root certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for a host, given as an IP address or a DNS name, without a port.
    pub fn issue(&self, host: &str) -> Certificate {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a host");
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, host);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let write = |name: String, text: &str| {
            let path = self.folder.path().join(name);
            fs::write(&path, text).expect("the certificate's file");
            path
        };
        Certificate {
            certificate: write(format!("{host}.crt"), &certificate.pem()),
            key: write(format!("{host}.key"), &key.serialize_pem()),
        }
    }

    /// An HTTP client that trusts this authority and no other.
    pub fn http(&self) -> reqwest::Client {
        let root = reqwest::Certificate::from_pem(self.issuer.pem().as_bytes());
        net::http_client(vec![root.expect("the root certificate")])
    }

    /// The folder of the authority's files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Default for TestCa {
    fn default() -> Self {
        Self::new()
    }
}
