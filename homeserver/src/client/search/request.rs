//! What a search asks for, and the token by which it goes on.
//!
//! Invariant: ruma's type cannot tell a context that was asked for from one that was not, so the body is read here.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3search>

use ruma::api::client::{
    filter::RoomEventFilter,
    search::search_events::v3::{GroupingKey, OrderBy},
};
use serde::Deserialize;

use crate::http::error::ApiError;

/// The body.
#[derive(Debug, Deserialize)]
pub(super) struct Body {
    pub(super) search_categories: Categories,
}

/// What is searched.
#[derive(Debug, Deserialize)]
pub(super) struct Categories {
    pub(super) room_events: Option<Criteria>,
}

/// How events are searched.
#[derive(Debug, Deserialize)]
pub(super) struct Criteria {
    pub(super) search_term: String,
    pub(super) keys: Option<Vec<String>>,
    #[serde(default)]
    pub(super) filter: RoomEventFilter,
    pub(super) order_by: Option<OrderBy>,
    pub(super) event_context: Option<Context>,
    #[serde(default)]
    pub(super) include_state: bool,
    #[serde(default)]
    pub(super) groupings: Groupings,
}

/// What is told around each event.
#[derive(Debug, Deserialize)]
pub(super) struct Context {
    #[serde(default = "beside_default")]
    pub(super) before_limit: u64,
    #[serde(default = "beside_default")]
    pub(super) after_limit: u64,
    #[serde(default)]
    pub(super) include_profile: bool,
}

fn beside_default() -> u64 {
    5
}

/// How results are grouped.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Groupings {
    #[serde(default)]
    pub(super) group_by: Vec<Group>,
}

/// One way of grouping.
#[derive(Debug, Deserialize)]
pub(super) struct Group {
    pub(super) key: Option<GroupingKey>,
}

impl Criteria {
    /// Whether the text under a key of the content is searched.
    pub(super) fn searches(&self, key: &str) -> bool {
        let searches = |keys: &Vec<String>| keys.iter().any(|wanted| wanted == key);
        self.keys.as_ref().is_none_or(searches)
    }

    /// Whether results are grouped so.
    pub(super) fn groups_by(&self, key: &GroupingKey) -> bool {
        let mut groups = self.groupings.group_by.iter();
        groups.any(|group| group.key.as_ref() == Some(key))
    }

    /// Whether the newest come first, instead of the best.
    pub(super) fn is_recent_first(&self) -> bool {
        self.order_by == Some(OrderBy::Recent)
    }
}

/// Where a search goes on: after so many results, among the events that were there when it began. Written `q{skip}_{upto}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SearchToken {
    /// Results told already.
    pub(super) skip: usize,
    /// The head of the log when the search began.
    pub(super) upto: i64,
}

impl SearchToken {
    /// Reads one.
    ///
    /// # Errors
    /// `M_INVALID_PARAM` if it is not one of ours.
    pub(super) fn parse(token: &str) -> Result<Self, ApiError> {
        let read = || {
            let (skip, upto) = token.strip_prefix('q')?.split_once('_')?;
            Some(Self {
                skip: skip.parse().ok()?,
                upto: upto.parse().ok()?,
            })
        };
        read().ok_or_else(|| ApiError::invalid_param("This token is not one of this server's"))
    }
}

impl std::fmt::Display for SearchToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "q{}_{}", self.skip, self.upto)
    }
}
