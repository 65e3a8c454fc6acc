//! Limits under a clock that stands still until it is moved.

use axum::{
    Router, body::Body, extract::Request, middleware::from_fn_with_state, response::IntoResponse,
    routing::get,
};
use http::header;
use http_body_util::BodyExt;
use ruma::user_id;
use tower::ServiceExt;

use super::*;
use crate::{
    clock::{MockClock, SeededRng},
    http::peer::Peer,
};

/// A limiter that lets two through at once in every class, then one every two seconds.
fn limiter() -> (Arc<RateLimiter>, MockClock) {
    let clock = MockClock::default();
    let limit = RateLimit::new(0.5, 2);
    let config = RateLimitsConfig {
        login: limit,
        general: limit,
        ..RateLimitsConfig::default()
    };
    (
        Arc::new(RateLimiter::new(
            &config,
            Arc::new(clock.clone()),
            Arc::new(SeededRng::new(1)),
        )),
        clock,
    )
}

/// Milliseconds to wait that a refusal tells.
async fn retry_after_ms(refusal: ApiError) -> u64 {
    let body = refusal
        .into_response()
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    serde_json::from_slice::<serde_json::Value>(&body).unwrap()["retry_after_ms"]
        .as_u64()
        .unwrap()
}

#[tokio::test]
async fn after_the_burst_a_user_waits_for_the_refill_and_others_do_not() {
    let (limiter, clock) = limiter();
    let (alice, bob) = (user_id!("@alice:example.org"), user_id!("@bob:example.org"));
    limiter.check_user(RateClass::Login, alice).unwrap();
    limiter.check_user(RateClass::Login, alice).unwrap();
    let refusal = limiter.check_user(RateClass::Login, alice).unwrap_err();
    assert_eq!(retry_after_ms(refusal).await, 2000);
    limiter.check_user(RateClass::Login, bob).unwrap();
    limiter.check_user(RateClass::General, alice).unwrap();
    clock.advance(Duration::from_millis(1999));
    assert_eq!(
        retry_after_ms(limiter.check_user(RateClass::Login, alice).unwrap_err()).await,
        1
    );
    clock.advance(Duration::from_millis(1));
    limiter.check_user(RateClass::Login, alice).unwrap();
    assert_eq!(
        (
            limiter.refused(RateClass::Login),
            limiter.refused(RateClass::General)
        ),
        (2, 0)
    );
}

#[test]
fn a_network_of_64_bits_is_one_address_and_its_key_lives_an_hour() {
    let (limiter, clock) = limiter();
    let key = limiter.current_address_key();
    for address in ["2001:db8::1", "2001:db8::2"] {
        limiter
            .check_address(RateClass::Login, address.parse().unwrap())
            .unwrap();
    }
    assert!(
        limiter
            .check_address(RateClass::Login, "2001:db8::3".parse().unwrap())
            .is_err()
    );
    limiter
        .check_address(RateClass::Login, "2001:db8:0:1::3".parse().unwrap())
        .unwrap();
    assert_eq!(limiter.current_address_key(), key);
    clock.advance(Duration::from_secs(3600));
    assert_ne!(limiter.current_address_key(), key);
}

#[test]
fn buckets_are_bounded_and_thrown_away_when_full() {
    let (limiter, clock) = limiter();
    let class = Class::new(RateLimit::new(1.0, 1), &limiter.clock);
    for key in 0..(KEYS_MAX as u128 * 2) {
        let _ = class.check(key << 20 | 1 << 19, clock.monotonic());
    }
    let bound = KEYS_MAX + CHECKS_PER_COUNT as usize + SHARED_KEYS as usize;
    assert!(
        (KEYS_MAX..=bound).contains(&class.limiter.len()),
        "{}",
        class.limiter.len()
    );
    clock.advance(PRUNE_INTERVAL);
    class.check(7, clock.monotonic()).unwrap();
    assert_eq!(class.limiter.len(), 1);
}

#[test]
fn switched_off_nothing_is_limited_until_it_is_switched_on() {
    let (limiter, _) = limiter();
    let alice = user_id!("@alice:example.org");
    limiter.reconfigure(&RateLimitsConfig {
        enabled: false,
        ..RateLimitsConfig::default()
    });
    for _ in 0..10_000 {
        limiter.check_user(RateClass::Login, alice).unwrap();
    }
    limiter.reconfigure(&RateLimitsConfig {
        login: RateLimit::new(1.0, 1),
        ..RateLimitsConfig::default()
    });
    limiter.check_user(RateClass::Login, alice).unwrap();
    limiter.check_user(RateClass::Login, alice).unwrap_err();
}

#[test]
fn a_class_is_found_at_its_own_place() {
    for (index, class) in RateClass::ALL.into_iter().enumerate() {
        assert_eq!(class as usize, index);
    }
}

/// A request from an address, with or without a token.
fn request(address: &str, token: bool) -> Request {
    let mut request = Request::get("/_matrix/client/v3/sync")
        .body(Body::empty())
        .unwrap();
    request.extensions_mut().insert(Peer {
        address: address.parse().unwrap(),
        secure: true,
    });
    if token {
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, "Bearer x".parse().unwrap());
    }
    request
}

#[tokio::test]
async fn the_layer_counts_strangers_by_address_and_leaves_tokens_to_their_check() {
    let (limiter, _) = limiter();
    let handler = |admission: axum::Extension<Admission>| async move {
        admission
            .charge_user(user_id!("@alice:example.org"))
            .map(|()| "served")
    };
    let router = Router::new()
        .route("/_matrix/client/v3/sync", get(handler))
        .layer(from_fn_with_state(Arc::clone(&limiter), admit));
    let status = async |request: Request| router.clone().oneshot(request).await.unwrap().status();
    assert_eq!(status(request("192.0.2.1", false)).await, 200);
    assert_eq!(status(request("192.0.2.1", false)).await, 200);
    let refused = router
        .clone()
        .oneshot(request("192.0.2.1", false))
        .await
        .unwrap();
    assert_eq!(
        (
            refused.status().as_u16(),
            &refused.headers()[header::RETRY_AFTER]
        ),
        (429, &http::HeaderValue::from(2))
    );
    assert_eq!(status(request("192.0.2.2", false)).await, 200);
    // The same address with a token is its user's business.
    assert_eq!(status(request("192.0.2.1", true)).await, 200);
    assert_eq!(status(request("192.0.2.9", true)).await, 200);
    assert_eq!(status(request("192.0.2.8", true)).await, 429);
}
