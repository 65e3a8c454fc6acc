//! Files as the server keeps them.
//!
//! Invariant: no transfer is larger than [`MEDIA_BYTES_MAX`] or takes longer than its deadline. Nothing here encrypts: a file for
//! an encrypted room must be encrypted by whoever hands it over.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#content-repository>

use std::time::Duration;

use ruma::{
    MxcUri, OwnedMxcUri,
    api::client::{authenticated_media::get_content, media::create_content},
};

use super::{Client, ClientError};
use crate::http::HttpError;

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
}
