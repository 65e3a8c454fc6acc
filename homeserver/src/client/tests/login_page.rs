//! The page by which clients log in that know none of the flows.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::*;

#[tokio::test]
async fn a_page_runs_its_own_script_and_repeats_nothing() {
    let server = Server::start().await;
    let path = "/_matrix/static/client/login/?device_id=%3Cscript%3Ealert(1)%3C/script%3E";
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let response = server.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    let policy = header("content-security-policy");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let page = String::from_utf8(body.to_vec()).unwrap();
    assert!(!page.contains("alert"));
    assert!(page.contains("window.matrixLogin.onLogin(response)"));
    let (_, script) = page.split_once("<script>").unwrap();
    let (script, _) = script.split_once("</script>").unwrap();
    let hash = STANDARD.encode(Sha256::digest(script.as_bytes()));
    assert!(
        policy.contains(&format!("script-src 'sha256-{hash}'")),
        "{policy}"
    );
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
}
