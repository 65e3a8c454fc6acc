//! Uploads and downloads, whose bodies are bytes.

use super::{Refusal, User, WAIT_MAX, text};

/// A file as the server gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// Its media type, as the server says.
    pub content_type: String,
    /// What it is.
    pub bytes: Vec<u8>,
}

impl User {
    /// Uploads a file; its server and id, as in `mxc://{server}/{id}`.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn upload(&self, content_type: &str, bytes: Vec<u8>) -> String {
        let url = format!("{}/_matrix/media/v3/upload?filename=quetzal.png", self.base);
        let request = self.http.post(url).bearer_auth(&self.token);
        let request = request.header("content-type", content_type).body(bytes);
        let answer = request.timeout(WAIT_MAX).send().await.expect("an answer");
        let body = answer.text().await.expect("an answer's body");
        let json = serde_json::from_str(&body).unwrap_or_default();
        let uri = text(&json, "content_uri");
        let place = uri.strip_prefix("mxc://");
        place.expect("a content URI").to_owned()
    }

    /// What is below `/_matrix/client/v1/media/`, or why not.
    ///
    /// # Errors
    /// An answer that is no success.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn download(&self, path: &str) -> Result<Download, Refusal> {
        let url = format!("{}/_matrix/client/v1/media/{path}", self.base);
        let request = self.http.get(url).bearer_auth(&self.token);
        let answer = request.timeout(WAIT_MAX).send().await.expect("an answer");
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = answer.bytes().await.expect("an answer's body").to_vec();
        if !status.is_success() {
            let body = String::from_utf8_lossy(&bytes).into_owned();
            let json: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            return Err(Refusal {
                status: status.as_u16(),
                code: json["errcode"].as_str().unwrap_or_default().to_owned(),
                body,
            });
        }
        let content_type = headers.get("content-type");
        let content_type = content_type.and_then(|value| value.to_str().ok());
        Ok(Download {
            content_type: content_type.unwrap_or_default().to_owned(),
            bytes,
        })
    }
}
