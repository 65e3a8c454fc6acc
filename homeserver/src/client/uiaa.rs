//! Pages for clients that cannot show a stage of user-interactive authentication themselves.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#fallback>

pub(crate) mod get_uiaa_fallback_page;
