//! Every part of the server, built once, from the bottom up.
//!
//! Invariant: a part is given only parts that were built before it, so that it can reach nothing
//! above itself. Handlers reach the parts through [`App`]; nothing else does.

use std::{ops::Deref, sync::Arc};

use axum::extract::FromRef;
use ruma::{
    OwnedServerName, ServerName, UInt, UserId, api::federation::transactions::edu::PresenceUpdate,
    signatures::Ed25519KeyPair,
};

use crate::{
    accounts::{Accounts, RemoteDevices, keys::Keys},
    clock::{Clock, Rng},
    config::Config,
    drain::Drain,
    http::{
        nonce::Nonces, origin::OriginVerifier, requester::Authenticator, token::Tokens,
        turns::Turns, uia::Uia,
    },
    key_files::TokenKey,
    media::Media,
    outbound::{
        DeviceLists, EduSource, OwnKeys, ProjectionError, PushGateway, Receipts, Remote, Sender,
        SenderContext, ServerKeys, Transport,
    },
    rooms::{
        Rooms, RoomsContext,
        ephemeral::Ephemeral,
        presence::{Presence, Shown},
        projection::federation_event,
        typing::{Typing, TypingChange},
    },
    store::{Store, StoredKey},
    sync::{Sync, SyncContext},
};

/// The parts of a running server. Cheap to clone; every handler gets it as axum's state.
#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

/// What an [`App`] holds, from the bottom up.
#[derive(Debug)]
pub struct Parts {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// What the operator decided.
    pub config: Arc<Config>,
    /// The end of the process: long polls, WebSockets and background loops heed it.
    pub drain: Drain,
    /// The database.
    pub store: Arc<Store>,
    /// Requests to other servers.
    pub remote: Remote,
    /// Signing keys: our own and those of other servers.
    pub server_keys: ServerKeys,
    /// What is owed to other servers, on its way.
    pub sender: Sender,
    /// EDUs of other servers.
    pub ephemeral: Ephemeral,
    /// Whose transaction is being taken.
    pub turns: Turns,
    /// Proof of who makes a request of federation.
    pub origins: OriginVerifier,
    /// Rooms.
    pub rooms: Arc<Rooms>,
    /// Who types.
    pub typing: Arc<Typing>,
    /// Who is online.
    pub presence: Arc<Presence>,
    /// People and their sessions.
    pub accounts: Arc<Accounts>,
    /// Public encryption keys, ours and others'.
    pub keys: Keys,
    /// Uploads, and the media of other servers.
    pub media: Media,
    /// Access and refresh tokens.
    pub tokens: Arc<Tokens>,
    /// Tokens to requesters.
    pub authenticator: Arc<Authenticator>,
    /// User-interactive authentication.
    pub uia: Uia,
    /// Nonces of the provisioning endpoint.
    pub nonces: Nonces,
    /// What clients are told.
    pub sync: Arc<Sync>,
    /// The way to phones that sleep.
    pub push_gateway: PushGateway,
}

/// What the parts are built from.
#[derive(Debug)]
pub struct Foundation {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// What the operator decided.
    pub config: Arc<Config>,
    /// The opened database.
    pub store: Arc<Store>,
    /// The key that signs access tokens.
    pub token_key: TokenKey,
    /// The key that signs events and requests to other servers.
    pub signing_key: Arc<Ed25519KeyPair>,
    /// Keys that signed events once, each with the time at which it was retired.
    pub retired_keys: Vec<StoredKey>,
    /// The way to other servers.
    pub transport: Arc<dyn Transport>,
    /// The end of the process.
    pub drain: Drain,
}

/// The ways to other servers, and the proof of who comes from one.
struct Outgoing {
    remote: Remote,
    server_keys: ServerKeys,
    sender: Sender,
    origins: OriginVerifier,
}

impl Outgoing {
    fn new(base: &Foundation) -> Self {
        let (store, clock) = (&base.store, &base.clock);
        let server_name = &base.config.server_name;
        let federation = Arc::new(base.config.federation.clone());
        let own = OwnKeys::new(
            server_name.clone(),
            Arc::clone(&base.signing_key),
            Arc::clone(clock),
        )
        .with_retired(base.retired_keys.clone());
        let remote = Remote::new(
            server_name.clone(),
            Arc::clone(&base.signing_key),
            Arc::clone(&federation),
            Arc::clone(&base.transport),
            Arc::clone(clock),
        );
        let server_keys = ServerKeys::new(
            own,
            Arc::clone(store),
            remote.clone(),
            &federation,
            Arc::clone(clock),
        );
        let sender = Sender::start(SenderContext {
            store: Arc::clone(store),
            remote: remote.clone(),
            clock: Arc::clone(clock),
            rng: Arc::clone(&base.rng),
            projection: |event, now_ms| {
                String::from_utf8(federation_event(event, now_ms)).map_err(|_| ProjectionError)
            },
            edus: edu_sources(store, server_name),
            drain: base.drain.clone(),
        });
        let origins = OriginVerifier::new(
            server_keys.clone(),
            sender.clone(),
            federation,
            Arc::clone(clock),
        );
        Self {
            remote,
            server_keys,
            sender,
            origins,
        }
    }
}

/// Rooms, people and media.
struct Middle {
    rooms: Arc<Rooms>,
    typing: Arc<Typing>,
    presence: Arc<Presence>,
    accounts: Arc<Accounts>,
    keys: Keys,
    media: Media,
    ephemeral: Ephemeral,
}

impl Middle {
    fn new(base: &Foundation, outgoing: &Outgoing) -> Self {
        let (store, clock, rng) = (&base.store, &base.clock, &base.rng);
        let server_name = &base.config.server_name;
        let typing = Typing::new(Arc::clone(clock));
        typing.on_change(tell_typing(outgoing.sender.clone(), server_name.clone()));
        let rooms = Rooms::new(RoomsContext {
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            rng: Arc::clone(rng),
            server_name: server_name.clone(),
            key_pair: Arc::clone(&base.signing_key),
            remote: outgoing.remote.clone(),
            server_keys: outgoing.server_keys.clone(),
            typing: Arc::clone(&typing),
        });
        let is_told = base.config.presence.enabled;
        let presence = Presence::new(is_told, Arc::clone(clock), Arc::clone(&typing));
        presence.on_change(tell_presence(outgoing.sender.clone(), server_name.clone()));
        let accounts = Arc::new(Accounts::new(
            Arc::clone(store),
            Arc::clone(clock),
            Arc::clone(rng),
            &base.config,
        ));
        let devices = RemoteDevices::new(Arc::clone(store), outgoing.remote.clone());
        let keys = Keys::new(
            Arc::clone(store),
            server_name.clone(),
            Arc::new(devices.clone()),
        );
        let media = Media::new(
            Arc::clone(store),
            Arc::clone(clock),
            Arc::clone(rng),
            outgoing.remote.clone(),
            &base.config,
        );
        let ephemeral = Ephemeral {
            store: Arc::clone(store),
            rooms: Arc::clone(&rooms),
            typing: Arc::clone(&typing),
            presence: Arc::clone(&presence),
            accounts: Arc::clone(&accounts),
            devices,
        };
        Self {
            rooms,
            typing,
            presence,
            accounts,
            keys,
            media,
            ephemeral,
        }
    }
}

impl App {
    /// Builds the parts.
    pub fn new(base: Foundation) -> Self {
        let outgoing = Outgoing::new(&base);
        let middle = Middle::new(&base, &outgoing);
        let tokens = Arc::new(Tokens::new(&base.token_key, Arc::clone(&base.clock)));
        let authenticator = Arc::new(Authenticator::new(
            Arc::clone(&tokens),
            Arc::clone(&middle.accounts),
        ));
        let uia = Uia::new(
            Arc::clone(&base.clock),
            Arc::clone(&base.rng),
            Arc::clone(&middle.accounts),
        );
        let nonces = Nonces::new(Arc::clone(&base.clock), Arc::clone(&base.rng));
        let sync = Sync::new(SyncContext {
            store: Arc::clone(&base.store),
            clock: Arc::clone(&base.clock),
            accounts: Arc::clone(&middle.accounts),
            rooms: Arc::clone(&middle.rooms),
            typing: Arc::clone(&middle.typing),
            presence: Arc::clone(&middle.presence),
        });
        Self(Arc::new(Parts {
            clock: base.clock,
            rng: base.rng,
            config: base.config,
            drain: base.drain,
            store: base.store,
            remote: outgoing.remote,
            server_keys: outgoing.server_keys,
            sender: outgoing.sender,
            ephemeral: middle.ephemeral,
            turns: Turns::default(),
            origins: outgoing.origins,
            rooms: middle.rooms,
            typing: middle.typing,
            presence: middle.presence,
            accounts: middle.accounts,
            keys: middle.keys,
            media: middle.media,
            tokens,
            authenticator,
            uia,
            nonces,
            sync,
            push_gateway: PushGateway::new(base.transport),
        }))
    }
}

/// What is owed to other servers beside events.
fn edu_sources(store: &Arc<Store>, server_name: &ServerName) -> Vec<Arc<dyn EduSource>> {
    let (store, server_name) = (Arc::clone(store), server_name.to_owned());
    let receipts = Receipts {
        store: Arc::clone(&store),
        server_name: server_name.clone(),
    };
    vec![
        Arc::new(receipts),
        Arc::new(DeviceLists { store, server_name }),
    ]
}

/// Tells other servers of our users' typing, on a task of its own.
fn tell_typing(
    sender: Sender,
    own: OwnedServerName,
) -> impl Fn(&TypingChange<'_>) + Send + std::marker::Sync + 'static {
    move |change| {
        let user = change.user_id;
        if user.server_name() != own {
            return;
        }
        let (sender, room, user) = (sender.clone(), change.room_id.to_owned(), user.to_owned());
        let is_typing = change.typing;
        tokio::spawn(async move { sender.typing(&room, &user, is_typing).await });
    }
}

/// Tells other servers how our users are, on a task of its own.
fn tell_presence(
    sender: Sender,
    own: OwnedServerName,
) -> impl Fn(&UserId, &Shown) + Send + std::marker::Sync + 'static {
    move |user, shown| {
        if user.server_name() != own {
            return;
        }
        let mut update =
            PresenceUpdate::new(user.to_owned(), shown.presence.clone(), UInt::default());
        update.status_msg.clone_from(&shown.status_msg);
        update.currently_active = shown.currently_active;
        let sender = sender.clone();
        tokio::spawn(async move { sender.presence(update).await });
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<App> for Arc<Authenticator> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.authenticator)
    }
}

impl FromRef<App> for OriginVerifier {
    fn from_ref(app: &App) -> Self {
        app.origins.clone()
    }
}
