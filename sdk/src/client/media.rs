//! Files, encrypted before they leave for an encrypted room.
//!
//! Invariant: no transfer is larger than [`MEDIA_BYTES_MAX`] or takes longer than its deadline; into a room that is encrypted, or
//! must be, a file goes as ciphertext only; what was fetched by an encrypted reference has the hash that its sender gave.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#content-repository>

use std::time::Duration;

use ruma::{
    MxcUri, OwnedMxcUri,
    api::client::{authenticated_media::get_content, media::create_content},
    events::room::EncryptedFile,
};
use serde_json::{Map, Value, json};

use super::{Client, ClientError};
use crate::{
    crypto::{decrypt_attachment, encrypt_attachment},
    http::HttpError,
    room::Room,
    send_queue::{SendOptions, Sending},
};

/// The largest file that is fetched or sent, in bytes.
pub const MEDIA_BYTES_MAX: usize = 100 * 1024 * 1024;

/// How long a transfer may take.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(600);

/// The most bytes of the answer to an upload.
const UPLOAD_ANSWER_BYTES_MAX: usize = 16 * 1024;

impl Client {
    /// Sends a file as it is: whoever runs the server can read it.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode; [`HttpError::TooLarge`] beyond [`MEDIA_BYTES_MAX`].
    pub async fn upload(
        &self,
        content_type: &str,
        file: Vec<u8>,
    ) -> Result<OwnedMxcUri, ClientError> {
        if file.len() > MEDIA_BYTES_MAX {
            return Err(HttpError::TooLarge {
                bytes_max: MEDIA_BYTES_MAX,
            }
            .into());
        }
        let mut request = create_content::v3::Request::new(file);
        request.content_type = Some(content_type.to_owned());
        let bounds = (TRANSFER_TIMEOUT, UPLOAD_ANSWER_BYTES_MAX);
        let sent = self.request_observed(request, bounds, &|_, _| {});
        Ok(sent.await?.content_uri)
    }

    /// Fetches a file as it is.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode; [`HttpError::TooLarge`] beyond [`MEDIA_BYTES_MAX`].
    pub async fn download(&self, uri: &MxcUri) -> Result<Vec<u8>, ClientError> {
        self.download_with(uri, |_, _| {}).await
    }

    /// The same, while `progress` is told after each piece how many bytes have come, and how many there will be if the server said. It must
    /// not take long: the file waits for it.
    ///
    /// # Errors
    ///
    /// As [`Client::download`].
    pub async fn download_with(
        &self,
        uri: &MxcUri,
        progress: impl Fn(u64, Option<u64>) + Send + Sync,
    ) -> Result<Vec<u8>, ClientError> {
        let request = get_content::v1::Request::from_uri(uri).map_err(|_| HttpError::Request)?;
        let bounds = (TRANSFER_TIMEOUT, MEDIA_BYTES_MAX);
        let answer = self.request_observed(request, bounds, &progress);
        Ok(answer.await?.file)
    }

    /// Fetches a file that an encrypted event refers to by its `file` field, and decrypts it.
    ///
    /// # Errors
    ///
    /// As [`Client::download`], and [`ClientError::Attachment`] if it is not what its sender encrypted.
    pub async fn download_encrypted(&self, file: &EncryptedFile) -> Result<Vec<u8>, ClientError> {
        self.download_encrypted_with(file, |_, _| {}).await
    }

    /// The same, while `progress` is told as by [`Client::download_with`].
    ///
    /// # Errors
    ///
    /// As [`Client::download_encrypted`].
    pub async fn download_encrypted_with(
        &self,
        file: &EncryptedFile,
        progress: impl Fn(u64, Option<u64>) + Send + Sync,
    ) -> Result<Vec<u8>, ClientError> {
        let ciphertext = self.download_with(&file.url, progress).await?;
        Ok(decrypt_attachment(ciphertext, file)?)
    }
}

impl Room {
    /// Uploads a file and queues the message that refers to it.
    ///
    /// # Errors
    ///
    /// As [`Client::upload`] and [`Room::queue`].
    pub async fn send_file(
        &self,
        name: &str,
        content_type: &str,
        file: Vec<u8>,
        options: SendOptions,
    ) -> Result<Sending, ClientError> {
        let size = file.len();
        let mut content = Map::new();
        content.insert("msgtype".to_owned(), "m.file".into());
        content.insert("body".to_owned(), name.into());
        content.insert(
            "info".to_owned(),
            json!({"mimetype": content_type, "size": size}),
        );
        if self.is_encrypted() || options.must_encrypt {
            let encrypted = encrypt_attachment(file, self.client().inner.rng.as_ref())?;
            let ciphertext = encrypted.ciphertext.clone();
            let url = self
                .client()
                .upload("application/octet-stream", ciphertext)
                .await?;
            let file = serde_json::to_value(encrypted.into_file(url));
            content.insert("file".to_owned(), file.map_err(|_| ClientError::Encode)?);
            // What holds the file's key must not be sent in the clear either.
            let options = SendOptions {
                must_encrypt: true,
                ..options
            };
            return self.queue("m.room.message", content, options).await;
        }
        let url = self.client().upload(content_type, file).await?;
        content.insert("url".to_owned(), Value::String(url.to_string()));
        self.queue("m.room.message", content, options).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{fake_server::FakeServer, store::MemoryStore};

    #[tokio::test]
    async fn a_download_tells_how_far_it_has_come() {
        let server = FakeServer::start().await;
        let client = server.alice(Arc::new(MemoryStore::new())).await;
        let file = Value::String("x".repeat(1 << 20));
        let bytes = file.to_string().len() as u64;
        let path = "/_matrix/client/v1/media/download/one/abc";
        let answers = |status, body: &Value| {
            let mut shared = server.lock();
            shared
                .answers
                .insert(path.to_owned(), (status, body.clone()));
        };
        answers(200, &file);
        let told = Mutex::new(Vec::new());
        let note = |done, total| told.lock().unwrap().push((done, total));
        let uri = ruma::mxc_uri!("mxc://one/abc");
        let fetched = client.download_with(uri, note).await.unwrap();
        assert_eq!(fetched.len() as u64, bytes);
        let told = told.into_inner().unwrap();
        assert!(told.len() > 1 && told.is_sorted_by(|one, next| one.0 < next.0));
        assert!(told.iter().all(|(_, total)| *total == Some(bytes)));
        assert_eq!(told.last(), Some(&(bytes, Some(bytes))));
        // Without anybody who watches, and where there is nothing.
        assert_eq!(client.download(uri).await.unwrap(), fetched);
        answers(404, &json!({"errcode": "M_NOT_FOUND", "error": ""}));
        assert!(client.download(uri).await.is_err());
    }
}
