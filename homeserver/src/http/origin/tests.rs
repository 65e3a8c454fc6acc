//! Requests of honest servers and of hostile ones.

use std::time::Duration;

use axum::{Router, routing::put};
use http::Request;
use ruma::{
    api::federation::{
        authentication::XMatrixSigningInput, transactions::send_transaction_message::v1 as send,
    },
    server_name,
};
use tower::ServiceExt;

use super::*;
use crate::outbound::{
    OwnKeys,
    testing::{Here, Peer, federation, key_pair},
};

const BODY: &str = r#"{"origin":"peer.org","origin_server_ts":1,"pdus":[]}"#;
const PATH: &str = "/_matrix/federation/v1/send/1";

struct Setting {
    here: Here,
    peer: Peer,
    router: Router,
}

async fn setting() -> Setting {
    setting_with(federation(server_name!("here.org"))).await
}

async fn setting_with(config: Arc<FederationConfig>) -> Setting {
    let here = Here::with_config(server_name!("here.org"), config).await;
    let peer = Peer::start(&here.network, server_name!("peer.org"), &here.clock);
    let verifier = OriginVerifier::new(
        here.keys.clone(),
        here.sender(),
        Arc::clone(&here.config),
        Arc::new(here.clock.clone()),
    );
    let answer = async |signed: Signed<send::Request>| signed.origin.to_string();
    let path = "/_matrix/federation/v1/send/{transaction_id}";
    let router = Router::new().route(path, put(answer)).with_state(verifier);
    Setting { here, peer, router }
}

fn request(path: &str, body: &str) -> Request<Vec<u8>> {
    Request::put(path).body(body.as_bytes().to_vec()).unwrap()
}

fn signature(keys: &OwnKeys, destination: &ServerName, request: &Request<Vec<u8>>) -> XMatrix {
    let input = XMatrixSigningInput::new(
        keys.server_name().to_owned(),
        destination.to_owned(),
        keys.key_pair(),
    );
    XMatrix::sign_http_request(request, input).unwrap()
}

fn signed(keys: &OwnKeys, mut request: Request<Vec<u8>>) -> Request<Vec<u8>> {
    let signature = signature(keys, server_name!("here.org"), &request);
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, (&signature).into());
    request
}

impl Setting {
    /// Status, and the errcode or the origin.
    async fn check(&self, request: Request<Vec<u8>>) -> (u16, String) {
        let request = request.map(axum::body::Body::from);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = read_body(response.into_body(), 10_000).await.unwrap();
        let said = match serde_json::from_slice::<serde_json::Value>(&body) {
            Ok(error) => error["errcode"].as_str().unwrap().to_owned(),
            Err(_) => String::from_utf8(body.to_vec()).unwrap(),
        };
        (status, said)
    }
}

fn refused() -> (u16, String) {
    (401, "M_UNAUTHORIZED".to_owned())
}

#[tokio::test]
async fn a_signed_request_is_known_by_its_origin() {
    let setting = setting().await;
    let request = signed(&setting.peer.keys, request(PATH, BODY));
    assert_eq!(setting.check(request).await, (200, "peer.org".to_owned()));
}

#[tokio::test]
async fn altered_requests_are_refused() {
    let setting = setting().await;
    let honest = || signed(&setting.peer.keys, request(PATH, BODY));
    let mut body = honest();
    *body.body_mut() = BODY.replace('1', "2").into_bytes();
    assert_eq!(setting.check(body).await, refused());
    let mut path = honest();
    *path.uri_mut() = PATH.replace("send/1", "send/2").parse().unwrap();
    assert_eq!(setting.check(path).await, refused());
    let mut query = honest();
    *query.uri_mut() = format!("{PATH}?a=b").parse().unwrap();
    assert_eq!(setting.check(query).await, refused());
    let mut encoded = honest();
    *encoded.uri_mut() = PATH.replace("send/1", "send/%31").parse().unwrap();
    assert_eq!(setting.check(encoded).await, refused());
}

#[tokio::test]
async fn a_request_for_another_server_is_refused() {
    let setting = setting().await;
    let mut request = request(PATH, BODY);
    let signature = signature(&setting.peer.keys, server_name!("third.org"), &request);
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, (&signature).into());
    assert_eq!(setting.check(request.clone()).await, refused());
    // Nor does it help to leave the name out: it is part of what is signed.
    let text = signature.to_string().replace("destination=third.org,", "");
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, text.parse().unwrap());
    assert_eq!(setting.check(request).await, refused());
}

#[tokio::test]
async fn a_request_of_an_older_server_without_destination_is_accepted() {
    let setting = setting().await;
    let mut request = request(PATH, BODY);
    let signature = signature(&setting.peer.keys, server_name!("here.org"), &request);
    let text = signature.to_string().replace("destination=here.org,", "");
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, text.parse().unwrap());
    assert_eq!(setting.check(request).await.0, 200);
}

#[tokio::test]
async fn a_key_that_its_server_does_not_publish_is_refused() {
    let setting = setting().await;
    let clock: Arc<dyn Clock> = Arc::new(setting.here.clock.clone());
    let thief = OwnKeys::new(
        server_name!("peer.org").to_owned(),
        key_pair("thief"),
        Arc::clone(&clock),
    );
    assert_eq!(
        setting.check(signed(&thief, request(PATH, BODY))).await,
        refused()
    );
    let same_id = OwnKeys::new(server_name!("peer.org").to_owned(), key_pair("peer"), clock);
    assert_eq!(
        setting.check(signed(&same_id, request(PATH, BODY))).await,
        refused()
    );
}

#[tokio::test]
async fn a_key_that_has_expired_is_refused() {
    let setting = setting().await;
    let request = || signed(&setting.peer.keys, request(PATH, BODY));
    assert_eq!(setting.check(request()).await.0, 200);
    setting.here.network.remove(server_name!("peer.org"));
    setting.here.clock.advance(Duration::from_secs(49 * 3600));
    assert_eq!(setting.check(request()).await, refused());
}

#[tokio::test]
async fn unsigned_and_malformed_signatures_are_refused() {
    let setting = setting().await;
    assert_eq!(setting.check(request(PATH, BODY)).await, refused());
    for header in [
        "Bearer abc",
        "X-Matrix",
        "X-Matrix origin=peer.org,key=\"ed25519:peer\",sig=\"!\"",
        "X-Matrix a=\"",
    ] {
        let mut request = request(PATH, BODY);
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, header.parse().unwrap());
        assert_eq!(setting.check(request).await, refused(), "{header}");
    }
}

#[tokio::test]
async fn json_that_two_parsers_read_differently_is_refused() {
    let setting = setting().await;
    let twice = BODY.replacen('{', r#"{"pdus":[],"#, 1);
    let request = signed(&setting.peer.keys, request(PATH, &twice));
    assert_eq!(setting.check(request).await, (400, "M_BAD_JSON".to_owned()));
}

#[tokio::test]
async fn servers_outside_the_allow_list_are_refused() {
    let mut config = (*federation(server_name!("here.org"))).clone();
    config.allowed_servers = Some(vec![server_name!("friend.org").to_owned()]);
    let setting = setting_with(Arc::new(config)).await;
    let request = signed(&setting.peer.keys, request(PATH, BODY));
    assert_eq!(
        setting.check(request).await,
        (403, "M_FORBIDDEN".to_owned())
    );
    // The other direction: no request is made of them, not even for their keys.
    assert_eq!(setting.here.network.count(server_name!("peer.org")), 0);
}

#[tokio::test]
async fn nobody_speaks_in_our_own_name() {
    let setting = setting().await;
    let request = signed(setting.here.keys.own(), request(PATH, BODY));
    assert_eq!(
        setting.check(request).await,
        (403, "M_FORBIDDEN".to_owned())
    );
}

/// `{"pdus":[]}` many times over, packed by gzip.
const PACKED: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 237, 198, 49, 13, 0, 32, 12, 0, 48, 47, 147, 129, 21, 194,
    135, 0, 18, 194, 181, 204, 251, 60, 112, 183, 87, 51, 206, 126, 55, 198, 92, 149, 170, 170,
    170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170,
    170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170, 170,
    170, 170, 250, 223, 6, 203, 216, 96, 6, 240, 85, 0, 0,
];

#[tokio::test]
async fn a_packed_body_is_not_unpacked() {
    let setting = setting().await;
    let mut request = signed(&setting.peer.keys, request(PATH, BODY));
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    // The control: what says that it is packed, and is not, is read as it stands.
    assert_eq!(setting.check(request.clone()).await.0, 200);
    *request.body_mut() = PACKED.to_vec();
    assert_eq!(setting.check(request).await, (400, "M_NOT_JSON".to_owned()));
}
