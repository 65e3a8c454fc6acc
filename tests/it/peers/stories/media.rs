//! Files, which a server fetches from the one that they were given to.

use base64::{Engine, engine::general_purpose::STANDARD};
use passeur_tests::{Homeserver, user::User};

use super::stage::{Site, Stage};

/// A picture of 96 by 96 pixels.
const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAGAAAABgCAIAAABt+uBvAAAAjklEQVR42u3QMQ0AAAgDsElBCtKQjgNOriZV0NQ0hygQJEiQIEGCBAlCkCBBggQJEiQIQYIECRIkSJAgBAkSJEiQIEGCBCFIkCBBggQJEoQgQYIECRIkSBCCBAkSJEiQIEGCECRIkCBBggQJQpAgQYIECRIkCEGCBAkSJEiQIEEIEiRIkCBBggQhSJCgPwv1iYHSVTcujAAAAABJRU5ErkJggg==";

/// How much of a large file is sent, in bytes.
const LARGE_BYTES: usize = 300_000;

pub(super) async fn files_are_fetched_from_the_other_side(stage: Stage) {
    let Stage {
        alice,
        bob,
        host,
        guest,
        ..
    } = &stage;
    fetches(alice, host, bob).await;
    fetches(bob, guest, alice).await;
}

async fn fetches(owner: &User, home: &Site, reader: &User) {
    let picture = STANDARD.decode(PICTURE).expect("a picture");
    let place = owner.upload("image/png", picture.clone()).await;
    let got = reader.download(&format!("download/{place}")).await;
    let got = got.expect("the picture");
    assert_eq!(got.content_type, "image/png");
    assert_eq!(got.bytes, picture);
    let path = format!("thumbnail/{place}?width=32&height=32&method=scale");
    let small = reader.download(&path).await.expect("a thumbnail");
    assert!(small.content_type.starts_with("image/"), "{small:?}");
    assert!(!small.bytes.is_empty() && small.bytes != picture);
    let large: Vec<u8> = (0..LARGE_BYTES).map(|at| (at * at % 251) as u8).collect();
    let place = owner
        .upload("application/octet-stream", large.clone())
        .await;
    let got = reader.download(&format!("download/{place}")).await;
    assert!(got.expect("the large file").bytes == large);
    let nothing = format!("download/{}/quetzalnothing", home.server_name());
    let refusal = reader.download(&nothing).await.expect_err("nothing there");
    assert_eq!(
        (refusal.status, refusal.code.as_str()),
        (404, "M_NOT_FOUND")
    );
}
