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
        let sent = self.request_within(request, TRANSFER_TIMEOUT, UPLOAD_ANSWER_BYTES_MAX);
        Ok(sent.await?.content_uri)
    }

    /// Fetches a file as it is.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode; [`HttpError::TooLarge`] beyond [`MEDIA_BYTES_MAX`].
    pub async fn download(&self, uri: &MxcUri) -> Result<Vec<u8>, ClientError> {
        let request = get_content::v1::Request::from_uri(uri).map_err(|_| HttpError::Request)?;
        let answer = self.request_within(request, TRANSFER_TIMEOUT, MEDIA_BYTES_MAX);
        Ok(answer.await?.file)
    }

    /// Fetches a file that an encrypted event refers to by its `file` field, and decrypts it.
    ///
    /// # Errors
    ///
    /// As [`Client::download`], and [`ClientError::Attachment`] if it is not what its sender encrypted.
    pub async fn download_encrypted(&self, file: &EncryptedFile) -> Result<Vec<u8>, ClientError> {
        let ciphertext = self.download(&file.url).await?;
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
