//! `POST /_matrix/client/v3/user_directory/search`
//!
//! Invariant: only users who share a room with the requester, or are in a room that is open to
//! everybody, are found by a part of their name; another user of this server is found by the whole of it, as their profile is:
//! nobody can list who exists here.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3user_directorysearch>

use std::collections::BTreeMap;

use axum::extract::State;
use ruma::{
    OwnedEventId, OwnedUserId, UserId,
    api::client::user_directory::search_users::v3::{Request, Response, User},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
    store::StoreError,
};

/// The longest term, in bytes.
const TERM_BYTES_MAX: usize = 512;
/// The most users that are shown at once.
const RESULTS_MAX: usize = 100;

/// Users of other servers whose names are looked at; beyond that, they are found by id alone.
const REMOTE_MAX: usize = 5_000;

/// Finds users by id or display name.
pub(crate) async fn search_users_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<Request>,
) -> ApiResult<Response> {
    if request.search_term.len() > TERM_BYTES_MAX {
        return Err(ApiError::too_large());
    }
    let term = request.search_term.trim().to_lowercase();
    let limit = usize::try_from(request.limit).unwrap_or(RESULTS_MAX);
    let limit = limit.min(RESULTS_MAX);
    let visible = app.rooms.people_visible_to(&requester.user_id).await?;
    let mut people: BTreeMap<_, _> = visible
        .into_iter()
        .map(|(user, member)| (user, Some(member)))
        .collect();
    // "The search MUST consider local users to the homeserver."
    if let Some(user) = app.accounts.local_user_named(&term)
        && app.accounts.is_active(&user).await?
    {
        people.entry(user).or_default();
    }
    people.remove(&requester.user_id);
    let appearances = appearances(&app, &people).await?;
    let found = people.into_keys().filter_map(|user| {
        let (display_name, avatar_url) = appearances.get(&user).cloned().unwrap_or_default();
        let rank = rank(&term, &user, display_name.as_deref())?;
        let mut result = User::new(user);
        result.display_name = display_name;
        result.avatar_url = avatar_url.map(Into::into);
        Some((rank, result))
    });
    let mut found: Vec<(Rank, User)> = found.collect();
    // "Ordered by rank and then whether or not profile info is available."
    found.sort_by_cached_key(|(rank, user)| {
        let is_bare = user.display_name.is_none() && user.avatar_url.is_none();
        (*rank, is_bare, user.user_id.clone())
    });
    let limited = found.len() > limit;
    found.truncate(limit);
    let results = found.into_iter().map(|(_, user)| user).collect();
    Ok(RumaResponse(Response::new(results, limited)))
}

/// How well somebody fits the term, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It is their name.
    Whole,
    /// Their name begins with it.
    Beginning,
    /// It is somewhere in their id or name.
    Within,
}

/// How well a user fits the term, which is in lower case, if at all.
fn rank(term: &str, user: &UserId, display_name: Option<&str>) -> Option<Rank> {
    let id = user.as_str().to_lowercase();
    let localpart = user.localpart().to_lowercase();
    let name = display_name.unwrap_or_default().to_lowercase();
    let names = [&id, &localpart, &name];
    if names.iter().any(|name| *name == term) {
        Some(Rank::Whole)
    } else if names.iter().any(|name| name.starts_with(term)) {
        Some(Rank::Beginning)
    } else if names.iter().any(|name| name.contains(term)) {
        Some(Rank::Within)
    } else {
        None
    }
}

/// How people appear, as name and picture: our own by their profiles, others by their member
/// events.
async fn appearances(
    app: &App,
    people: &BTreeMap<OwnedUserId, Option<OwnedEventId>>,
) -> Result<BTreeMap<OwnedUserId, (Option<String>, Option<String>)>, StoreError> {
    #[derive(Deserialize)]
    struct Member {
        displayname: Option<String>,
        avatar_url: Option<String>,
    }
    let mut appearances = BTreeMap::new();
    let (local, remote): (Vec<_>, Vec<_>) = people
        .iter()
        .partition(|(user, _)| app.accounts.is_local(user));
    let local: Vec<&UserId> = local.into_iter().map(|(user, _)| &**user).collect();
    for (user, profile) in app.store.profiles(&local).await? {
        let text = |field: &str| {
            let value = profile.get(field).and_then(Value::as_str);
            value.map(ToOwned::to_owned)
        };
        let appearance = (text("displayname"), text("avatar_url"));
        appearances.insert(user, appearance);
    }
    let remote = remote.into_iter().take(REMOTE_MAX);
    let remote: Vec<OwnedEventId> = remote.filter_map(|(_, event)| event.clone()).collect();
    for event in app.store.events(&remote).await? {
        let user = event.pdu.state_key.as_deref().map(OwnedUserId::try_from);
        let member = serde_json::from_str::<Member>(event.pdu.content.get());
        if let (Some(Ok(user)), Ok(member)) = (user, member) {
            appearances.insert(user, (member.displayname, member.avatar_url));
        }
    }
    Ok(appearances)
}
