//! Access tokens: missing, forged, expired, revoked.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use passeur_tests::{
    ca::TestCa,
    server::TestServer,
    user::{PASSWORD, User},
};
use reqwest::Method;
use serde_json::{Value, json};

/// Asks who the token belongs to.
async fn whoami(user: &User) -> Result<Value, (u16, String)> {
    let answer = user.request(Method::GET, "/v3/account/whoami", None).await;
    answer.map_err(|refusal| (refusal.status, refusal.code))
}

#[tokio::test]
async fn only_a_live_token_is_accepted() {
    let ca = TestCa::new();
    let server = TestServer::start(&ca);
    let mut alice = User::register(&server, "alice").await;
    assert_eq!(whoami(&alice).await.unwrap()["user_id"], json!(alice.id));
    let good = alice.token.clone();
    // The same claims under no signature, and under one that is a byte off.
    let mut parts: Vec<String> = good.split('.').map(str::to_owned).collect();
    assert_eq!(parts.len(), 3, "a JWT has three parts");
    let unsigned = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#),
        parts[1]
    );
    let mut signature = URL_SAFE_NO_PAD.decode(&parts[2]).unwrap();
    signature[10] ^= 1;
    parts[2] = URL_SAFE_NO_PAD.encode(signature);
    for forged in [unsigned, parts.join("."), "nonsense".to_owned()] {
        alice.token = forged;
        assert_eq!(
            whoami(&alice).await,
            Err((401, "M_UNKNOWN_TOKEN".to_owned()))
        );
    }
    alice.token.clear();
    assert_eq!(
        whoami(&alice).await,
        Err((401, "M_MISSING_TOKEN".to_owned()))
    );
    alice.token = good;
    alice.post("/v3/logout", json!({})).await;
    assert_eq!(
        whoami(&alice).await,
        Err((401, "M_UNKNOWN_TOKEN".to_owned()))
    );
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions_at_once() {
    let ca = TestCa::new();
    let server = TestServer::start(&ca);
    let alice = User::register(&server, "alice").await;
    let elsewhere = User::login(&server, &alice.id).await;
    assert!(whoami(&elsewhere).await.is_ok());
    let identifier = json!({"type": "m.id.user", "user": alice.id});
    let asked = alice
        .request(
            Method::POST,
            "/v3/account/password",
            Some(json!({"new_password": "another quetzal"})),
        )
        .await;
    let asked: Value = serde_json::from_str(&asked.unwrap_err().body).unwrap();
    let auth = json!({
        "type": "m.login.password", "identifier": identifier, "password": PASSWORD, "session": asked["session"],
    });
    alice
        .post(
            "/v3/account/password",
            json!({"new_password": "another quetzal", "auth": auth}),
        )
        .await;
    assert!(whoami(&alice).await.is_ok());
    assert_eq!(
        whoami(&elsewhere).await,
        Err((401, "M_UNKNOWN_TOKEN".to_owned()))
    );
    let old = json!({"type": "m.login.password", "identifier": identifier, "password": PASSWORD});
    let refused = alice
        .request(Method::POST, "/v3/login", Some(old))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (403, "M_FORBIDDEN")
    );
}

#[tokio::test]
async fn a_refresh_token_gives_a_new_pair() {
    let ca = TestCa::new();
    let server = TestServer::start(&ca);
    let mut alice = User::register(&server, "alice").await;
    let login = json!({
        "type": "m.login.password", "identifier": {"type": "m.id.user", "user": alice.id},
        "password": PASSWORD, "refresh_token": true,
    });
    let first = alice.post("/v3/login", login).await;
    assert!(first["expires_in_ms"].as_u64().unwrap() <= 300_000);
    let refresh = json!({"refresh_token": first["refresh_token"]});
    alice.token.clear();
    // The answer was lost: asked again before its successor was used, the same token gives another pair.
    let lost = alice.post("/v3/refresh", refresh.clone()).await;
    let second = alice.post("/v3/refresh", refresh.clone()).await;
    assert_ne!(lost["refresh_token"], second["refresh_token"]);
    alice.token = second["access_token"].as_str().unwrap().to_owned();
    assert_eq!(whoami(&alice).await.unwrap()["user_id"], json!(alice.id));
    // Now it is spent; whoever still has it may be a thief, and the session ends.
    alice.token.clear();
    let third = alice
        .post(
            "/v3/refresh",
            json!({"refresh_token": second["refresh_token"]}),
        )
        .await;
    alice.token = third["access_token"].as_str().unwrap().to_owned();
    assert!(whoami(&alice).await.is_ok());
    let reused = alice
        .request(Method::POST, "/v3/refresh", Some(refresh))
        .await
        .unwrap_err();
    assert_eq!(
        (reused.status, reused.code.as_str()),
        (401, "M_UNKNOWN_TOKEN")
    );
    assert_eq!(
        whoami(&alice).await,
        Err((401, "M_UNKNOWN_TOKEN".to_owned()))
    );
}
