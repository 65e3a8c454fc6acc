//! Answers of servers that are slow, failing or wrong: each becomes the error that says what it was.

use ruma::{api::federation::discovery::get_server_version::v1 as version, server_name};

use super::*;
use crate::outbound::{
    Pending, SMALL_ANSWER_BYTES_MAX,
    testing::{Here, json},
};

/// A network in which nobody ever answers.
#[derive(Debug)]
struct Silence;

impl Transport for Silence {
    fn request<'a>(
        &'a self,
        _: &'a ServerName,
        _: Request<Bytes>,
        _: Bounds,
    ) -> Pending<'a, Result<http::Response<Bytes>, RemoteError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_the_bounds_say() {
    let here = Here::start(server_name!("here.org")).await;
    let remote = Remote {
        transport: Arc::new(Silence),
        ..here.remote.clone()
    };
    let request = version::Request::new();
    let call = remote.call_unsigned(server_name!("peer.org"), request, Bounds::INTERACTIVE);
    let time = async {
        here.clock.wait_for_sleepers(1).await;
        here.clock.advance(Bounds::INTERACTIVE.timeout);
    };
    let (answer, ()) = tokio::join!(call, time);
    assert_eq!(answer.err(), Some(RemoteError::Timeout));
}

#[tokio::test]
async fn an_error_says_what_was_wrong_with_the_answer() {
    let here = Here::start(server_name!("here.org")).await;
    let peer = server_name!("peer.org");
    let ask = async |status: u16, body: String| {
        let answer = move |_: &Request<Bytes>| json(status, body.clone());
        here.network.serve(peer, answer);
        let request = version::Request::new();
        let answer = here
            .remote
            .call_unsigned(peer, request, Bounds::INTERACTIVE);
        answer.await.err()
    };
    let failed = |status: u16, errcode: Option<&str>| {
        Some(RemoteError::Status {
            status: http::StatusCode::from_u16(status).unwrap(),
            errcode: errcode.map(str::to_owned),
            message: None,
            retry_after_ms: None,
            room_version: None,
        })
    };
    for nonsense in ["{", "5", "<html>", r#"{"server":5}"#] {
        let answer = ask(200, nonsense.to_owned()).await;
        assert_eq!(answer, Some(RemoteError::Malformed), "{nonsense}");
    }
    let long = " ".repeat(SMALL_ANSWER_BYTES_MAX + 1);
    assert_eq!(ask(200, long.clone()).await, Some(RemoteError::TooLarge));
    assert_eq!(ask(502, "<html>".to_owned()).await, failed(502, None));
    let named = r#"{"errcode":"M_FORBIDDEN"}"#.to_owned();
    let known = failed(403, Some("M_FORBIDDEN"));
    assert_eq!(ask(403, named).await, known);
    // A name without end is no name.
    let endless = format!(r#"{{"errcode":"{}"}}"#, "M".repeat(1_000));
    assert_eq!(ask(403, endless).await, failed(403, None));
    // The control.
    let honest = r#"{"server":{"name":"x","version":"1"}}"#.to_owned();
    assert_eq!(ask(200, honest).await, None);
}
