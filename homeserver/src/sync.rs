//! Sync: what a client is told, and when.
//!
//! Invariant: an answer covers exactly the positions above its token, up to a head that was taken
//! before anything was read; so nothing is missed and nothing is told twice. An open sync looks
//! again after each wake-up, and a wake-up that comes while it looks is not lost.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#syncing>

use std::{collections::HashSet, sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use ruma::{OwnedDeviceId, OwnedUserId, UserId};

use crate::{
    accounts::Accounts,
    clock::Clock,
    rooms::{Rooms, json::JsonWriter, presence::Presence, typing::Typing},
    store::{LogKind, ReceiptNote, Store, StoreError},
};

mod answer;
mod device_lists;
mod ephemeral;
mod fields;
pub mod filter;
mod key_changes;
mod left;
pub mod notify;
mod notifying;
mod own;
mod presence;
mod pushes;
mod room;
mod state;
mod summary;
pub mod threads;
mod timeline;
pub mod token;
mod told;
mod unread;
mod window;

pub use self::{answer::Answer, key_changes::KeyChanges, notifying::Notifying, pushes::Pushes};
use self::{
    filter::{FilterError, SyncFilter},
    notify::{Feed, Feeds},
    token::{SyncToken, TokenError},
    told::Told,
    unread::Unread,
};

/// The longest that an open sync waits, in milliseconds.
pub const TIMEOUT_MS_MAX: u64 = 120_000;
/// The type of the account data that holds push rules.
const PUSH_RULES: &str = "m.push_rules";
/// The type of the account data that says who is ignored.
const IGNORED_USER_LIST: &str = "m.ignored_user_list";
/// Devices of which it is remembered up to where their messages were deleted.
const DEVICES_MAX: usize = 20_000;
/// Rows of the log that one page of notifications looks at.
const NOTIFICATION_ROWS: u64 = 500;
/// Pages of the log that one answer with notifications looks at.
const NOTIFICATION_PAGES_MAX: usize = 10;
/// How often an answer is begun again because a membership moved beyond it meanwhile.
const LOOKS_MAX: usize = 4;

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// Who asks.
    pub user_id: OwnedUserId,
    /// With which device.
    pub device_id: OwnedDeviceId,
    /// The end of the answer that the client has; none for everything.
    pub since: Option<SyncToken>,
    /// What is asked for.
    pub filter: Arc<SyncFilter>,
    /// Whether the whole state of all rooms is told once more.
    pub full_state: bool,
    /// Whether state is told as after the timeline instead of before it.
    pub use_state_after: bool,
}

/// Why a sync is not answered.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The token is not one of ours, or lies ahead of everything.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The filter cannot be used.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What sync is built on.
#[derive(Clone, Debug)]
pub struct SyncContext {
    /// The database.
    pub store: Arc<Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Push rules, account data, keys.
    pub accounts: Arc<Accounts>,
    /// The rooms.
    pub rooms: Arc<Rooms>,
    /// Who types.
    pub typing: Arc<Typing>,
    /// Who is online.
    pub presence: Arc<Presence>,
}

/// The part that answers syncs.
#[derive(Debug)]
pub struct Sync {
    context: SyncContext,
    feeds: Arc<Feeds>,
    unread: Arc<Unread>,
    told: Told,
    /// Up to where messages of devices were deleted by this process.
    deleted: Cache<(OwnedUserId, OwnedDeviceId), i64>,
}

impl Sync {
    /// Listens to what is committed and to who types, from now on.
    pub fn new(context: SyncContext) -> Arc<Self> {
        let feeds = Arc::new(Feeds::new(context.store.heads().head()));
        let unread = Arc::new(Unread::new());
        let (entered, reads) = (Arc::clone(&feeds), Arc::clone(&unread));
        context.store.on_commit(move |published| {
            let expired = published.rows.iter();
            let expired = expired.filter(|row| row.kind == LogKind::Expired);
            let expired: HashSet<&str> = expired.filter_map(|row| row.scope.get(1..)).collect();
            if !expired.is_empty() {
                reads.forget_rooms(&expired);
            }
            for row in &published.rows {
                match row.kind {
                    LogKind::Receipt => note_read(&reads, &row.scope, row.reference.as_deref()),
                    // What came while the user was away is not counted.
                    LogKind::Membership => {
                        let user = row.scope.get(1..).unwrap_or_default();
                        reads.forget_room(user, row.reference.as_deref().unwrap_or_default());
                    }
                    LogKind::AccountData
                        if row.reference.as_deref().is_some_and(|kind| {
                            [PUSH_RULES, IGNORED_USER_LIST].contains(&kind)
                        }) =>
                    {
                        reads.forget(row.scope.get(1..).unwrap_or_default());
                    }
                    _ => {}
                }
            }
            entered.enter(published);
        });
        let woken = Arc::clone(&feeds);
        context.typing.on_change(move |change| {
            if !change.goes_on {
                woken.wake_room(change.room_id);
            }
        });
        let woken = Arc::clone(&feeds);
        let store = Arc::clone(&context.store);
        context.presence.on_change(move |user, _| {
            tokio::spawn(wake_company(
                Arc::clone(&store),
                Arc::clone(&woken),
                user.to_owned(),
            ));
        });
        let sync = Arc::new(Self {
            context,
            feeds,
            unread,
            told: Told::new(),
            deleted: Cache::new(DEVICES_MAX),
        });
        tokio::spawn(wake_followers(
            Arc::downgrade(&sync),
            Arc::clone(&sync.feeds),
        ));
        sync
    }

    /// Answers at once if there is anything to tell, or else when there is, or after `timeout` (at
    /// most [`TIMEOUT_MS_MAX`]) with an empty answer. The first answer and one with the whole state
    /// never wait.
    ///
    /// # Errors
    /// [`SyncError`].
    pub async fn answer(
        &self,
        request: &SyncRequest,
        timeout: Duration,
    ) -> Result<Answer, SyncError> {
        let timeout = timeout.min(Duration::from_millis(TIMEOUT_MS_MAX));
        let deadline = self.context.clock.monotonic().saturating_add(timeout);
        // What asks the database is boxed here and below, so that a waiting sync holds none of what asking takes.
        let feed = Box::pin(self.feed(&request.user_id)).await?;
        Box::pin(self.acknowledge(request)).await?;
        let at_once = timeout.is_zero() || request.since.is_none() || request.full_state;
        loop {
            // From here on no wake-up is lost, although nobody waits yet.
            let woken = feed.woken();
            let answer = Box::pin(self.look(request, &feed)).await?;
            if at_once || !answer.is_empty {
                return Ok(answer);
            }
            tokio::select! {
                () = woken => {}
                () = self.context.clock.sleep_until(deadline) => return Ok(answer),
            }
        }
    }

    /// Waits without a limit for something to tell.
    ///
    /// # Errors
    /// [`SyncError`].
    pub async fn next(&self, request: &SyncRequest) -> Result<Answer, SyncError> {
        let feed = Box::pin(self.feed(&request.user_id)).await?;
        loop {
            let woken = feed.woken();
            let answer = Box::pin(self.look(request, &feed)).await?;
            if request.since.is_none() || request.full_state || !answer.is_empty {
                return Ok(answer);
            }
            woken.await;
        }
    }

    /// Notes that the client has what came up to its token: to-device messages up to there go.
    ///
    /// # Errors
    /// [`SyncError::Token`] for a token ahead of everything, [`SyncError::Store`].
    pub async fn acknowledge(&self, request: &SyncRequest) -> Result<(), SyncError> {
        let Some(since) = request.since else {
            return Ok(());
        };
        let device = (request.user_id.clone(), request.device_id.clone());
        if since.position > self.feeds.seen() {
            return Err(TokenError.into());
        }
        self.told.received(&device, since.position);
        Ok(self.delete_to_device(device, since.to_device).await?)
    }

    /// How far an answer may look now, as a token that tells nothing.
    pub fn now(&self) -> SyncToken {
        let position = self.feeds.seen();
        SyncToken {
            position,
            to_device: position,
            typing: self.context.typing.revision(),
        }
    }

    /// The answer of a server that stops: nothing, and the same token again.
    ///
    /// # Errors
    /// What the database says.
    pub async fn nothing_new(&self, request: &SyncRequest) -> Result<Answer, StoreError> {
        let token = request.since.unwrap_or(SyncToken {
            position: 0,
            to_device: 0,
            typing: 0,
        });
        let mut out = JsonWriter::with_capacity(64);
        out.open().key("next_batch").string(&token.to_string());
        // Clients take their absence for a server that knows no such keys.
        self.write_key_counts(&mut out, request).await?;
        out.close();
        Ok(Answer {
            body: out.into_bytes(),
            token,
            is_empty: true,
        })
    }

    async fn look(&self, request: &SyncRequest, feed: &Feed) -> Result<Answer, SyncError> {
        for _ in 1..LOOKS_MAX {
            if let Some(answer) = self.try_look(request, feed, true).await? {
                return Ok(answer);
            }
        }
        let answer = self.try_look(request, feed, false).await?;
        answer.ok_or(SyncError::Token(TokenError))
    }

    /// The feed of a user, complete.
    async fn feed(&self, user: &UserId) -> Result<Arc<Feed>, StoreError> {
        let (feed, complete) = self.feeds.open(user, self.context.clock.monotonic());
        if !complete {
            let memberships = self.context.rooms.memberships(user).await?;
            let joined = memberships.values().filter(|row| window::is_joined(row));
            self.feeds.complete(&feed, joined.map(|row| &*row.room_id));
        }
        Ok(feed)
    }
}

/// Wakes those who share a room with a user.
async fn wake_company(store: Arc<Store>, feeds: Arc<Feeds>, user: OwnedUserId) {
    feeds.wake_user(&user);
    // A failing database is met by the syncs themselves.
    let rooms = store.memberships_of(&user).await.unwrap_or_default();
    for row in rooms.iter().filter(|row| window::is_joined(row)) {
        feeds.wake_room(&row.room_id);
    }
}

/// A receipt was committed: what is counted as unread by its user may change.
fn note_read(unread: &Unread, scope: &str, reference: Option<&str>) {
    let Some((kind, of)) = scope.split_at_checked(1) else {
        return;
    };
    let note = reference.map(serde_json::from_str::<ReceiptNote<'_>>);
    let Some(Ok(note)) = note else { return };
    match kind {
        "r" => unread.read(&note.0, of),
        _ => unread.read(of, &note.0),
    }
}

/// Wakes those who share a room with users whose keys changed. Their sync finds out by itself what
/// changed; this only makes it look.
async fn wake_followers(sync: std::sync::Weak<Sync>, feeds: Arc<Feeds>) {
    loop {
        let (users, rooms) = feeds.next_keys().await;
        let Some(sync) = sync.upgrade() else { return };
        for user in &users {
            feeds.wake_user(user);
        }
        for room in rooms {
            // A failing database is met by the syncs themselves; a wake-up too many harms nobody.
            let snapshot = sync.context.rooms.snapshot(&room).await.ok().flatten();
            let concerned = snapshot
                .is_none_or(|snapshot| users.iter().any(|user| snapshot.members.is_joined(user)));
            if concerned {
                feeds.wake_room(&room);
            }
        }
    }
}
