//! How servers authenticate requests to each other: the `X-Matrix` header and the signed request.
//!
//! Invariant: what is signed and verified is method, path with query, both server names and the body; a header that names
//! another destination than us is refused before any key is looked up.
//!
//! The parser is our own, because servers may send values with colons unquoted, which a general parser of HTTP
//! authentication does not take.
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/#request-authentication>.

use std::{borrow::Cow, collections::BTreeMap};

use ruma::{
    CanonicalJsonObject, OwnedServerName, OwnedServerSigningKeyId, ServerName,
    api::federation::authentication::XMatrix,
    serde::Base64,
    signatures::{Ed25519KeyPair, KeyPair, PublicKeyMap, verify_canonical_json_bytes},
};

use crate::{
    json::{JsonError, to_canonical_bytes},
    limits::{X_MATRIX_BYTES_MAX, X_MATRIX_PARAMETERS_MAX},
};

/// Why a request of a server is not authentic (`M_UNAUTHORIZED`, status 401).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XMatrixError {
    /// The header is absent, of another scheme, overlong or malformed.
    #[error("the X-Matrix header is malformed")]
    Malformed,
    /// A parameter is given twice, or one that is needed is absent.
    #[error("a parameter of the X-Matrix header is missing or repeated")]
    Parameters,
    /// The request is meant for another server.
    #[error("the request is meant for another server")]
    Destination,
    /// The signature does not hold, or its key is not known.
    #[error("the signature of the request does not hold")]
    Signature,
}

/// What a request is, as far as its signature covers it.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// The HTTP method, in capitals.
    pub method: &'a str,
    /// Path and query, as sent.
    pub uri: &'a str,
    /// Who sends it.
    pub origin: &'a ServerName,
    /// For whom it is.
    pub destination: &'a ServerName,
    /// The body.
    pub body: Body<'a>,
}

/// The body of a request, as its signature covers it.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// None.
    Empty,
    /// An object, read strictly from what a peer sent.
    Object(&'a CanonicalJsonObject),
    /// An object in canonical bytes, as we send it.
    Canonical(&'a [u8]),
}

impl SignedRequest<'_> {
    /// The canonical bytes that are signed.
    fn bytes(&self) -> Result<Vec<u8>, JsonError> {
        let members = CanonicalJsonObject::from([
            ("method".to_owned(), self.method.into()),
            ("uri".to_owned(), self.uri.into()),
            ("origin".to_owned(), self.origin.as_str().into()),
            ("destination".to_owned(), self.destination.as_str().into()),
        ]);
        let members = to_canonical_bytes(&members)?;
        let body = match self.body {
            Body::Empty => return Ok(members),
            Body::Object(object) => Cow::Owned(to_canonical_bytes(object)?),
            Body::Canonical(bytes) => Cow::Borrowed(bytes),
        };
        // `content` sorts before the other members; a transaction of megabytes is not copied into a tree for it.
        Ok([
            br#"{"content":"#,
            &*body,
            b",",
            members.get(1..).unwrap_or_default(),
        ]
        .concat())
    }

    /// Signs the request. The header is the [`Display`](std::fmt::Display) of the result.
    pub fn sign(&self, key_pair: &Ed25519KeyPair) -> Result<XMatrix, XMatrixError> {
        let bytes = self.bytes().map_err(|_| XMatrixError::Malformed)?;
        let (key, signature) = key_pair.sign(&bytes).into_parts();
        let key =
            OwnedServerSigningKeyId::try_from(key.as_str()).map_err(|_| XMatrixError::Malformed)?;
        Ok(XMatrix::new(
            self.origin.to_owned(),
            self.destination.to_owned(),
            key,
            Base64::new(signature),
        ))
    }

    /// Checks the signature in `header` with the keys of the origin.
    ///
    /// `keys` must hold none that is not valid at the time of the request.
    pub fn verify(&self, header: &XMatrix, keys: &PublicKeyMap) -> Result<(), XMatrixError> {
        if header.origin != *self.origin
            || header
                .destination
                .as_deref()
                .is_some_and(|to| to != self.destination)
        {
            return Err(XMatrixError::Destination);
        }
        let key = keys
            .get(self.origin.as_str())
            .and_then(|of_origin| of_origin.get(header.key.as_str()))
            .ok_or(XMatrixError::Signature)?;
        let bytes = self.bytes().map_err(|_| XMatrixError::Malformed)?;
        verify_canonical_json_bytes(
            &header.key.algorithm(),
            key.as_bytes(),
            header.sig.as_bytes(),
            &bytes,
        )
        .map_err(|_| XMatrixError::Signature)
    }
}

/// Reads the value of an `Authorization` header. Values may be quoted or not; unknown parameters are passed over.
pub fn parse(header: &str) -> Result<XMatrix, XMatrixError> {
    if header.len() > X_MATRIX_BYTES_MAX {
        return Err(XMatrixError::Malformed);
    }
    let (scheme, rest) = header
        .trim_start()
        .split_once(' ')
        .ok_or(XMatrixError::Malformed)?;
    if !scheme.eq_ignore_ascii_case(XMatrix::AUTH_SCHEME) {
        return Err(XMatrixError::Malformed);
    }
    let mut parameters = parameters(rest)?;
    let mut take = |name: &str| parameters.remove(name);
    let origin = take("origin").ok_or(XMatrixError::Parameters)?;
    let key = take("key").ok_or(XMatrixError::Parameters)?;
    let signature = take("sig").ok_or(XMatrixError::Parameters)?;
    let destination = take("destination");

    let server =
        |name: String| OwnedServerName::try_from(name).map_err(|_| XMatrixError::Malformed);
    let key = OwnedServerSigningKeyId::try_from(key).map_err(|_| XMatrixError::Malformed)?;
    let signature = Base64::parse(signature).map_err(|_| XMatrixError::Malformed)?;
    let origin = server(origin)?;
    let mut parsed = XMatrix::new(origin.clone(), origin, key, signature);
    parsed.destination = destination.map(server).transpose()?;
    Ok(parsed)
}

/// As [`parse`], and refuses what is meant for another server than `us`. Requests without destination pass, as the
/// specification wants for older servers: their signature still covers our name.
pub fn parse_for(header: &str, us: &ServerName) -> Result<XMatrix, XMatrixError> {
    let parsed = parse(header)?;
    if parsed
        .destination
        .as_deref()
        .is_some_and(|destination| destination != us)
    {
        return Err(XMatrixError::Destination);
    }
    Ok(parsed)
}

/// The parameters by lower-case name.
fn parameters(text: &str) -> Result<BTreeMap<String, String>, XMatrixError> {
    let mut found = BTreeMap::new();
    let mut rest = text.trim_matches([' ', '\t']);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(XMatrixError::Malformed)?;
        if name.is_empty() || !name.bytes().all(is_token) || found.len() == X_MATRIX_PARAMETERS_MAX
        {
            return Err(XMatrixError::Malformed);
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted)?,
            None => plain_value(after)?,
        };
        if found.insert(name.to_ascii_lowercase(), value).is_some() {
            return Err(XMatrixError::Parameters);
        }
        let after = after.trim_start_matches([' ', '\t']);
        // Lists may hold empty elements: RFC 9110, section 5.6.1.
        rest = match after.strip_prefix(',') {
            Some(more) => more.trim_start_matches([' ', '\t', ',']),
            None if after.is_empty() => after,
            None => return Err(XMatrixError::Malformed),
        };
    }
    Ok(found)
}

/// The value whose opening quote has been read, and what follows its closing quote.
fn quoted_value(text: &str) -> Result<(String, &str), XMatrixError> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(chars.next().ok_or(XMatrixError::Malformed)?.1),
            c => value.push(c),
        }
    }
    Err(XMatrixError::Malformed)
}

/// The unquoted value at the start of `text`, and what follows it.
///
/// Beyond the characters of a token: `:`, as the specification asks, and `/` and `=`, which signatures hold.
fn plain_value(text: &str) -> Result<(String, &str), XMatrixError> {
    let is_plain = |byte: u8| is_token(byte) || matches!(byte, b':' | b'/' | b'=');
    let end = text
        .bytes()
        .position(|byte| !is_plain(byte))
        .unwrap_or(text.len());
    // Only ASCII was passed over, so this is a boundary.
    let (value, rest) = text.split_at(end);
    if value.is_empty() {
        Err(XMatrixError::Malformed)
    } else {
        Ok((value.to_owned(), rest))
    }
}

/// A character of a token: RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
