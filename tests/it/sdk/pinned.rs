//! A certificate that a person compared, in place of all authorities: our SDK on our server.

use passeur_sdk::{Client, ClientBuilder, ClientError, http::HttpError};
use passeur_tests::{
    Homeserver,
    ca::TestCa,
    sdk::builder,
    server::TestServer,
    user::{PASSWORD, User},
};
use rustls_pki_types::{CertificateDer, pem::PemObject};

/// Whether a client with that configuration reaches the server; nothing else may be wrong.
async fn reaches(server: &TestServer, user: &str, builder: ClientBuilder) -> bool {
    let client = builder.homeserver(&server.client_url()).build();
    let outcome = client.await.unwrap().login_password(user, PASSWORD).await;
    match outcome {
        Ok(_) => true,
        Err(ClientError::Http(HttpError::Unreachable)) => false,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn only_the_pinned_certificate_is_taken_whoever_signed_another() {
    let ca = TestCa::new();
    let server = TestServer::start(&ca);
    let alice = User::register(&server, "alice").await;
    let folder = ca.file().parent().unwrap().to_owned();
    let shown = std::fs::read_dir(folder).unwrap().find_map(|file| {
        let path = file.unwrap().path();
        let is_certificate = path.extension().is_some_and(|extension| extension == "crt");
        is_certificate.then(|| CertificateDer::from_pem_file(path).unwrap())
    });
    let shown = shown.expect("the server's certificate").to_vec();
    let root = CertificateDer::from_pem_file(ca.file()).unwrap().to_vec();
    // Nobody trusts the authority, and the certificate does.
    let pinned = Client::builder().pinned_certificate(shown.clone());
    assert!(reaches(&server, &alice.id, pinned).await);
    assert!(!reaches(&server, &alice.id, Client::builder()).await);
    // The authority is trusted, and has signed another one: as if it had given one to whoever is in between.
    let trusting = || builder(&server, &ca.file());
    assert!(reaches(&server, &alice.id, trusting()).await);
    let other = trusting().pinned_certificate(root.clone());
    assert!(!reaches(&server, &alice.id, other).await);
    // Two, while one takes the place of the other.
    let both = Client::builder()
        .pinned_certificate(root)
        .pinned_certificate(shown);
    assert!(reaches(&server, &alice.id, both).await);
}
