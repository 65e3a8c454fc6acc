//! Media: uploading, serving without harm, and names that lead nowhere.

use std::convert::Infallible;

use futures_util::stream;
use http::HeaderMap;

use super::*;
use crate::store::KeepMedia;

const UPLOAD: &str = "/_matrix/media/v3/upload";
const DOWNLOAD: &str = "/_matrix/client/v1/media/download/example.org";

struct Served {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Served {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

impl Server {
    async fn upload(&self, user: &User, path: &str, kind: &str, body: Body) -> Answer {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {}", user.token))
            .header("content-type", kind)
            .body(body)
            .unwrap();
        self.answer(request).await
    }

    /// Uploads and gives the id.
    async fn put_media(&self, user: &User, kind: &str, bytes: &'static [u8]) -> String {
        let path = format!("{UPLOAD}?filename=d%C3%A9p%C3%AAche.txt");
        let answer = expect_ok(self.upload(user, &path, kind, Body::from(bytes)).await);
        let uri = answer["content_uri"].as_str().unwrap();
        uri.strip_prefix("mxc://example.org/").unwrap().to_owned()
    }

    async fn fetch(&self, user: &User, path: &str) -> Served {
        let request = Request::get(path)
            .header("authorization", format!("Bearer {}", user.token))
            .body(Body::empty())
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        Served {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec(),
        }
    }
}

#[tokio::test]
async fn what_is_uploaded_is_served_again_after_a_restart() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let id = server
        .put_media(&alice, "image/png", b"\x89PNG bytes")
        .await;
    let server = server.restart().await;
    let served = server.fetch(&bob, &format!("{DOWNLOAD}/{id}")).await;
    assert_eq!((served.status, &*served.body), (200, &b"\x89PNG bytes"[..]));
    assert_eq!(served.header("content-type"), "image/png");
    assert_eq!(served.header("content-length"), "10");
    assert!(
        served
            .header("content-disposition")
            .starts_with("inline; filename")
    );
    assert_eq!(served.header("x-content-type-options"), "nosniff");
    assert_eq!(
        served.header("cross-origin-resource-policy"),
        "cross-origin"
    );
    assert!(
        served
            .header("content-security-policy")
            .starts_with("sandbox;")
    );
    let named = server
        .fetch(&bob, &format!("{DOWNLOAD}/{id}/a%22b.png"))
        .await;
    assert!(named.header("content-disposition").contains("a\\\"b.png"));
    let path = format!("{DOWNLOAD}/{id}");
    let stranger = server.call("GET", &path, "", Value::Null).await;
    expect(&stranger, 401, "M_MISSING_TOKEN");
    for old in ["/_matrix/media/v3/download", "/_matrix/media/r0/download"] {
        let path = format!("{old}/example.org/{id}");
        expect(
            &server.call("GET", &path, &bob.token, Value::Null).await,
            404,
            "M_NOT_FOUND",
        );
    }
}

#[tokio::test]
async fn what_a_browser_might_run_is_an_attachment() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let kinds = [
        "text/html",
        "image/svg+xml",
        "Text/HTML; charset=utf-8",
        "nonsense",
        "",
    ];
    for kind in kinds {
        let id = server.put_media(&alice, kind, b"<script>").await;
        let served = server.fetch(&alice, &format!("{DOWNLOAD}/{id}")).await;
        assert!(
            served
                .header("content-disposition")
                .starts_with("attachment"),
            "{kind}"
        );
    }
    let id = server
        .put_media(&alice, "text/plain; charset=utf-8", b"x")
        .await;
    let served = server.fetch(&alice, &format!("{DOWNLOAD}/{id}")).await;
    assert!(served.header("content-disposition").starts_with("inline"));
}

#[tokio::test]
async fn an_upload_beyond_the_limit_leaves_nothing() {
    let server = Server::with(|config| config.media.upload_bytes_max = 1000).await;
    let alice = server.register("alice").await;
    let limit = expect_ok(server.get(&alice, "/_matrix/client/v1/media/config").await);
    assert_eq!(limit, json!({"m.upload.size": 1000}));
    let long = vec![0; 1001];
    expect(
        &server.upload(&alice, UPLOAD, "x/y", Body::from(long)).await,
        413,
        "M_TOO_LARGE",
    );
    // Without a length, the limit is met on the way.
    let pieces = (0..20).map(|_| Ok::<_, Infallible>(vec![0_u8; 100]));
    let body = Body::from_stream(stream::iter(pieces));
    expect(
        &server.upload(&alice, UPLOAD, "x/y", body).await,
        413,
        "M_TOO_LARGE",
    );
    let pieces = [Ok(vec![0_u8; 100]), Err(std::io::Error::other("gone"))];
    let broken = Body::from_stream(stream::iter(pieces));
    assert_eq!(server.upload(&alice, UPLOAD, "x/y", broken).await.0, 400);
    let left = std::fs::read_dir(server.folder.path().join("media/unfinished")).unwrap();
    assert_eq!(left.count(), 0);
    server.put_media(&alice, "x/y", &[0; 1000]).await;
}

#[tokio::test]
async fn whoever_keeps_too_much_uploads_no_more() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let much = KeepMedia {
        id: "everything".to_owned(),
        uploader: alice.id.as_str().try_into().unwrap(),
        content_type: None,
        filename: None,
        size: 20 << 30,
        sha256: String::new(),
        now_ms: 0,
    };
    assert!(server.app.store.commit(much).await.unwrap().output);
    let refused = server.upload(&alice, UPLOAD, "x/y", Body::from("1")).await;
    expect(&refused, 403, "M_FORBIDDEN");
    // The control: another user has kept nothing.
    server.put_media(&bob, "x/y", b"1").await;
}

#[tokio::test]
async fn a_reserved_id_takes_one_upload_of_its_owner() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let reserved = expect_ok(
        server
            .post(&alice, "/_matrix/media/v1/create", json!({}))
            .await,
    );
    let uri = reserved["content_uri"].as_str().unwrap();
    let id = uri.strip_prefix("mxc://example.org/").unwrap();
    let early = server
        .call("GET", &format!("{DOWNLOAD}/{id}"), &bob.token, Value::Null)
        .await;
    expect(&early, 504, "M_NOT_YET_UPLOADED");
    let path = format!("{UPLOAD}/example.org/{id}");
    let put = async |user: &User, path: &str| {
        let request = Request::put(path)
            .header("authorization", format!("Bearer {}", user.token))
            .body(Body::from("bytes"))
            .unwrap();
        server.answer(request).await
    };
    expect(&put(&bob, &path).await, 403, "M_FORBIDDEN");
    let (one, two) = tokio::join!(put(&alice, &path), put(&alice, &path));
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    expect(&put(&alice, &path).await, 409, "M_CANNOT_OVERWRITE_MEDIA");
    assert_eq!(
        server.fetch(&bob, &format!("{DOWNLOAD}/{id}")).await.body,
        b"bytes"
    );
    expect(
        &put(&alice, &format!("{UPLOAD}/example.org/unknown")).await,
        404,
        "M_NOT_FOUND",
    );
    expect(
        &put(&alice, &format!("{UPLOAD}/other.org/{id}")).await,
        404,
        "M_NOT_FOUND",
    );
    for _ in 0..20 {
        expect_ok(
            server
                .post(&bob, "/_matrix/media/v1/create", json!({}))
                .await,
        );
    }
    let more = server
        .post(&bob, "/_matrix/media/v1/create", json!({}))
        .await;
    expect(&more, 429, "M_LIMIT_EXCEEDED");
    server.clock.advance(crate::media::RESERVED_FOR);
    expect_ok(
        server
            .post(&bob, "/_matrix/media/v1/create", json!({}))
            .await,
    );
}

#[tokio::test]
async fn names_that_are_paths_lead_nowhere() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    for id in [
        "..%2F..%2Fpasseur.db",
        "%2e%2e",
        "a%00b",
        "a%2Fb",
        "é",
        "unknown",
    ] {
        let path = format!("{DOWNLOAD}/{id}");
        let path = path.replace('é', "%C3%A9");
        let answer = server.call("GET", &path, &alice.token, Value::Null).await;
        expect(&answer, 404, "M_NOT_FOUND");
    }
    let elsewhere = "/_matrix/client/v1/media/download/nowhere.example/abc";
    let answer = server
        .call("GET", elsewhere, &alice.token, Value::Null)
        .await;
    expect(&answer, 502, "M_UNKNOWN");
}

/// A PNG of this size.
fn png(width: u32, height: u32) -> &'static [u8] {
    let mut file = std::io::Cursor::new(Vec::new());
    let pixels = image::RgbaImage::from_pixel(width, height, image::Rgba([200, 10, 10, 255]));
    pixels.write_to(&mut file, image::ImageFormat::Png).unwrap();
    Vec::leak(file.into_inner())
}

#[tokio::test]
async fn an_image_has_thumbnails_and_nothing_else_does() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let thumbnail = |id: &str, query: &str| {
        format!("/_matrix/client/v1/media/thumbnail/example.org/{id}?{query}")
    };
    let image = server.put_media(&alice, "image/png", png(100, 50)).await;
    for (query, sides) in [
        ("width=32&height=32&method=scale", (32, 16)),
        ("width=32&height=32&method=crop", (32, 32)),
        ("width=32&height=32", (32, 16)),
        ("width=640&height=480&animated=false", (100, 50)),
    ] {
        let served = server.fetch(&alice, &thumbnail(&image, query)).await;
        assert_eq!(served.status, 200, "{query}");
        assert_eq!(served.header("content-type"), "image/png");
        assert!(served.header("content-disposition").starts_with("inline"));
        let made = image::load_from_memory(&served.body).unwrap();
        assert_eq!((made.width(), made.height()), sides, "{query}");
    }
    let refused = async |id: &str, query: &str| {
        let path = thumbnail(id, query);
        server.call("GET", &path, &alice.token, Value::Null).await
    };
    let small = "width=32&height=32";
    let zero = refused(&image, "width=0&height=32").await;
    expect(&zero, 400, "M_INVALID_PARAM");
    expect(&refused(&image, "height=32").await, 400, "M_MISSING_PARAM");
    expect(&refused("nosuch", small).await, 404, "M_NOT_FOUND");
    let octets = "application/octet-stream";
    let encrypted = server.put_media(&alice, octets, png(8, 8)).await;
    expect(&refused(&encrypted, small).await, 400, "M_UNKNOWN");
    let broken = server.put_media(&alice, "image/png", b"PNG").await;
    expect(&refused(&broken, small).await, 400, "M_UNKNOWN");
}

#[tokio::test]
async fn what_a_stop_cut_off_is_cleared_away_and_taken_again() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let reserved = server
        .call(
            "POST",
            "/_matrix/media/v1/create",
            &alice.token,
            Value::Null,
        )
        .await;
    let uri = expect_ok(reserved)["content_uri"].clone();
    let id = uri.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let folder = server.app.config.media_dir();
    let (shelf, unfinished) = (folder.join(&id[..2]), folder.join("unfinished"));
    for folder in [&shelf, &unfinished] {
        std::fs::create_dir_all(folder).unwrap();
    }
    // A stop between the file's name and its row, and one in the middle of an upload.
    std::fs::write(shelf.join(&id), b"half").unwrap();
    std::fs::write(unfinished.join("rest"), b"half").unwrap();
    let server = server.restart().await;
    assert!(!unfinished.join("rest").exists());
    let path = format!("/_matrix/media/v3/upload/example.org/{id}");
    let put = server
        .send("PUT", &path, &alice.token, Body::from("whole"))
        .await;
    expect_ok(put);
    let served = server.fetch(&alice, &format!("{DOWNLOAD}/{id}")).await;
    assert_eq!(served.body, b"whole");
    let again = server
        .send("PUT", &path, &alice.token, Body::from("other"))
        .await;
    expect(&again, 409, "M_CANNOT_OVERWRITE_MEDIA");
}
