//! The servers, their people, and what can be asked of all of them at once.
//!
//! Invariant: each server has one person who is never thrown out, so that it stays in the room.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomVersionId,
    signatures::Ed25519KeyPair,
};
use serde_json::{Value, json, value::to_raw_value};
use tempfile::TempDir;

use super::network::Network;
use crate::{
    app::{App, Foundation},
    clock::{MockClock, Rng, SeededRng},
    config::Config,
    drain::Drain,
    key_files,
    outbound::testing::key_pair_of,
    rooms::{Draft, NewRoom, Preset, Profile},
    router,
    store::{Direction, EventStatus, Store, StoreOptions, connection::statements},
};

mod describe;
mod mortal;

/// Turns of every task after which nothing was asked of a database nor of another server, until nothing is under way any more.
const QUIET_TURNS: usize = 24;
/// People of each server.
const PEOPLE: usize = 2;

/// A server that can be ended and begun again.
pub(super) struct Node {
    name: OwnedServerName,
    folder: TempDir,
    signing_key: Arc<Ed25519KeyPair>,
    app: App,
    drain: Drain,
}

/// Somebody.
pub(super) struct Person {
    pub(super) user_id: OwnedUserId,
    node: usize,
    pub(super) is_creator: bool,
    is_anchor: bool,
}

/// Everything of one seed.
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) people: Vec<Person>,
    pub(super) network: Network,
    /// Events whose senders were told that they are sent.
    pub(super) acknowledged: BTreeSet<OwnedEventId>,
    pub(super) has_privileged_creators: bool,
    room: OwnedRoomId,
    clock: MockClock,
    rng: SeededRng,
    mortal: mortal::Mortal,
}

impl World {
    /// Servers that are all in one room, under a clear sky that ends now.
    pub(super) async fn start(seed: u64) -> Self {
        let (clock, rng) = (MockClock::default(), SeededRng::new(seed));
        let network = Network::new(seed, clock.clone());
        // Mostly few, for eight servers take long.
        let count = [2, 2, 3, 3, 3, 4, 4, 5, 6, 8][(rng.next_u64() % 10) as usize];
        let mut nodes = Vec::new();
        let mut people = Vec::new();
        for node in 0..count {
            let name: OwnedServerName = format!("s{node}.example").try_into().unwrap();
            for number in 0..PEOPLE {
                people.push(Person {
                    user_id: format!("@u{number}:{name}").try_into().unwrap(),
                    node,
                    is_creator: node == 0 && number == 0,
                    is_anchor: number == 0,
                });
            }
            nodes.push(Node::new(name, &clock, &network).await);
        }
        let versions = [RoomVersionId::V10, RoomVersionId::V11, RoomVersionId::V12];
        let version = versions[(rng.next_u64() % 3) as usize].clone();
        let room = nodes[0].create(&people[0].user_id, version.clone()).await;
        let world = Self {
            nodes,
            people,
            network,
            acknowledged: BTreeSet::new(),
            has_privileged_creators: version == RoomVersionId::V12,
            room,
            clock,
            rng,
            mortal: mortal::Mortal::default(),
        };
        for person in &world.people {
            let via = vec![world.nodes[0].name.clone()];
            let rooms = &world.nodes[person.node].app.rooms;
            rooms
                .join(&world.room, &person.user_id, None, via)
                .await
                .unwrap();
        }
        world.pass(Duration::from_secs(1)).await;
        world.network.storm(true);
        world
    }

    /// A number below `below`.
    pub(super) fn draw(&mut self, below: usize) -> usize {
        (self.rng.next_u64() % below as u64) as usize
    }

    pub(super) async fn say(&mut self, actor: usize) {
        let body = format!("message {}", self.acknowledged.len());
        self.send(
            actor,
            "m.room.message",
            None,
            json!({ "body": body, "msgtype": "m.text" }),
        )
        .await;
    }

    pub(super) async fn set_state(&mut self, actor: usize, kind: &str, content: Value) {
        self.send(actor, kind, Some(String::new()), content).await;
    }

    /// Changes somebody's membership; those who keep their server in the room stay.
    pub(super) async fn member(&mut self, actor: usize, target: usize, membership: &str) {
        let target = &self.people[target];
        if target.is_anchor && membership != "join" {
            return;
        }
        let key = Some(target.user_id.to_string());
        self.send(
            actor,
            "m.room.member",
            key,
            json!({ "membership": membership }),
        )
        .await;
    }

    /// Sends an event; that the rules refuse it is part of the plan.
    async fn send(
        &mut self,
        actor: usize,
        kind: &str,
        state_key: Option<String>,
        content: Value,
    ) -> Option<OwnedEventId> {
        let person = &self.people[actor];
        let draft = Draft {
            room_id: self.room.clone(),
            sender: person.user_id.clone(),
            kind: kind.into(),
            state_key,
            content: to_raw_value(&content).unwrap(),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        };
        let id = self.nodes[person.node].app.rooms.send(draft).await.ok()?;
        self.acknowledged.insert(id.clone());
        Some(id)
    }

    pub(super) fn cut(&self, one: usize, other: usize, is_cut: bool) {
        let (one, other) = (&self.nodes[one].name, &self.nodes[other].name);
        self.network.cut(one, other, is_cut);
    }

    /// Ends a server's process in the middle of whatever it does, and begins another on its files.
    pub(super) async fn restart(&mut self, node: usize) {
        self.nodes[node].stop(&self.network).await;
        self.nodes[node].start(&self.clock, &self.network).await;
        self.settle().await;
    }

    /// Lets time pass, and with it what waits for it: until nothing is under way but what waits for more time.
    pub(super) async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.settle().await;
    }

    /// Gives every task its turn until nothing is under way.
    async fn settle(&self) {
        let mut quiet = 0;
        while quiet < QUIET_TURNS {
            let before = (statements(), self.network.requests());
            tokio::task::yield_now().await;
            let is_quiet = before == (statements(), self.network.requests());
            quiet = if is_quiet { quiet + 1 } else { 0 };
        }
    }

    /// Clears the sky; everybody says something, as people do, so that servers hear of each other again.
    pub(super) async fn clear(&mut self) {
        self.network.clear();
        self.pass(Duration::from_secs(3600)).await;
        for actor in 0..self.people.len() {
            self.say(actor).await;
            self.pass(Duration::from_secs(1)).await;
        }
    }

    /// Gives servers time to send what they owe and to fetch what they lack.
    pub(super) async fn catch_up(&mut self) {
        self.pass(Duration::from_secs(600)).await;
        for node in &self.nodes {
            let _ = node.app.rooms.backfill(&self.room, 100).await;
        }
        let actor = self.draw(self.people.len());
        if self.difference().await.is_some() {
            self.say(actor).await;
        }
        self.pass(Duration::from_secs(10)).await;
    }

    /// In what the servers differ, if they do.
    ///
    /// An event that one server shows and another has soft-failed is no difference: that is a judgement of the moment at
    /// which it came. That one has rejected what another took is one, for that follows from the event alone.
    pub(super) async fn difference(&self) -> Option<String> {
        let mut views = Vec::new();
        for node in &self.nodes {
            views.push(node.view(&self.room).await);
        }
        let all: BTreeSet<_> = views.iter().flat_map(|view| &view.events).collect();
        for node in &self.nodes {
            for id in &all {
                let held = node.app.store.event(id).await.unwrap();
                match held.map(|event| event.status) {
                    Some(EventStatus::Accepted | EventStatus::SoftFailed) => {}
                    status => {
                        let described = self.describe(id).await;
                        return Some(format!("{} has {id} as {status:?}\n{described}", node.name));
                    }
                }
            }
        }
        let (first, others) = views.split_first()?;
        let found = others
            .iter()
            .zip(&self.nodes[1..])
            .find_map(|(view, node)| {
                let (what, ids) = first.difference(view)?;
                Some((
                    format!("{} and {}: {what}", self.nodes[0].name, node.name),
                    ids,
                ))
            });
        let (mut found, ids) = found?;
        if let Some(parting) = self.parting(&all).await {
            found = format!("{found}\n{parting}");
        }
        for id in &ids {
            found = format!("{found}\n{}", self.describe(id).await);
        }
        Some(found)
    }

    /// What somebody was told is sent and a server does not hold, if anything.
    pub(super) async fn lost(&self, acknowledged: &BTreeSet<OwnedEventId>) -> Option<String> {
        for node in &self.nodes {
            for id in acknowledged {
                if node.app.store.event(id).await.unwrap().is_none() {
                    return Some(format!("{id} at {}", node.name));
                }
            }
        }
        None
    }

    pub(super) async fn end(self) {
        for node in self.nodes {
            node.drain.begin();
            node.app.store.close().await;
        }
    }
}

/// A room as one server sees it.
struct View {
    state: BTreeMap<(String, String), OwnedEventId>,
    extremities: BTreeSet<OwnedEventId>,
    events: BTreeSet<OwnedEventId>,
}

impl View {
    fn difference(&self, other: &Self) -> Option<(String, Vec<OwnedEventId>)> {
        if self.state != other.state {
            let keys = self.state.keys().chain(other.state.keys());
            let keys: BTreeSet<_> = keys
                .filter(|key| self.state.get(key) != other.state.get(key))
                .collect();
            let ids = keys
                .iter()
                .flat_map(|key| [self.state.get(key), other.state.get(key)]);
            let ids = ids.flatten().cloned().collect();
            return Some((format!("the state differs in {keys:?}"), ids));
        }
        let differing = self.extremities.symmetric_difference(&other.extremities);
        let differing: Vec<_> = differing.cloned().collect();
        (!differing.is_empty()).then(|| ("the extremities differ".to_owned(), differing))
    }
}

impl Node {
    async fn new(name: OwnedServerName, clock: &MockClock, network: &Network) -> Self {
        let folder = TempDir::new().unwrap();
        let mut seed = [7; 32];
        SeededRng::new(clock_seed(clock, &name)).fill(&mut seed);
        let signing_key = key_pair_of(seed, "1");
        let (app, drain) = begin(&name, &folder, &signing_key, clock, network).await;
        Self {
            name,
            folder,
            signing_key,
            app,
            drain,
        }
    }

    async fn stop(&mut self, network: &Network) {
        network.note(&format!("{} stops", self.name));
        network.attach(&self.name, None);
        self.drain.begin();
        self.app.store.close().await;
    }

    async fn start(&mut self, clock: &MockClock, network: &Network) {
        (self.app, self.drain) =
            begin(&self.name, &self.folder, &self.signing_key, clock, network).await;
    }

    async fn create(&self, creator: &OwnedUserId, version: RoomVersionId) -> OwnedRoomId {
        let new = NewRoom {
            creator: creator.clone(),
            profile: Profile::default(),
            version,
            preset: Preset::PublicChat,
            creation_content: BTreeMap::new(),
            power_levels: BTreeMap::new(),
            initial_state: Vec::new(),
            name: None,
            topic: None,
            alias: None,
            invite: Vec::new(),
            invite_remote: Vec::new(),
            is_direct: false,
        };
        self.app.rooms.create(&new).await.unwrap()
    }

    /// The room as this server holds it: rejected events are none of it, by all servers' judgement.
    async fn view(&self, room: &OwnedRoomId) -> View {
        let snapshot = self.app.rooms.snapshot(room).await.unwrap().unwrap();
        let state = snapshot.state.iter();
        let timeline = self
            .app
            .store
            .timeline(room, i64::MIN, Direction::Forward, 100_000)
            .await
            .unwrap();
        View {
            state: state
                .map(|((kind, key), id)| ((kind.to_string(), key.clone()), id.clone()))
                .collect(),
            extremities: snapshot.extremities.iter().cloned().collect(),
            events: timeline
                .iter()
                .filter(|event| event.status == EventStatus::Accepted)
                .map(|event| event.id().to_owned())
                .collect(),
        }
    }
}

async fn begin(
    name: &OwnedServerName,
    folder: &TempDir,
    signing_key: &Arc<Ed25519KeyPair>,
    clock: &MockClock,
    network: &Network,
) -> (App, Drain) {
    let config = Config::for_test(name.clone(), folder.path().into());
    if !config.token_key_path().exists() {
        key_files::create(&config.token_key_path(), &SeededRng::new(1)).unwrap();
    }
    let url = format!("sqlite:{}", folder.path().join("test.db").display());
    let drain = Drain::new();
    let app = App::new(Foundation {
        clock: Arc::new(clock.clone()),
        // A process draws other numbers than the one before it.
        rng: Arc::new(SeededRng::new(clock_seed(clock, name))),
        token_key: key_files::load_token_key(&config.token_key_path()).unwrap(),
        config: Arc::new(config),
        store: Store::open(&StoreOptions::new(url)).await.unwrap(),
        signing_key: Arc::clone(signing_key),
        retired_keys: Vec::new(),
        transport: Arc::new(network.wire(name)),
        drain: drain.clone(),
    });
    network.attach(name, Some(router::federation(&app)));
    (app, drain)
}

fn clock_seed(clock: &MockClock, name: &OwnedServerName) -> u64 {
    use crate::clock::Clock;

    let bytes = name.as_bytes().iter();
    bytes.fold(clock.now_ms().unsigned_abs(), |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(*byte))
    })
}
