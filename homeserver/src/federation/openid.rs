//! OpenID tokens of our users, for third parties.

pub(crate) mod get_openid_userinfo;
