//! What a story has before it begins: the two servers, Alice at the host's and Bob at the guest's.

use std::{
    fmt::{Debug, Display, Formatter, Result as FmtResult},
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering},
};

use passeur_tests::{
    Homeserver,
    ca::TestCa,
    server::{Setup, TestServer},
    synapse::Synapse,
    user::User,
    wire::Wire,
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// Where Synapse's federation listener is.
const SYNAPSE_ADDRESS: &str = "127.0.0.5";

/// How many of Synapse's last warnings a failed run shows.
const COMPLAINTS_MAX: usize = 30;

/// Which server the room is made at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    PasseurHosts,
    SynapseHosts,
}

impl Direction {
    /// Whose room it is.
    pub(super) const fn host(self) -> Software {
        match self {
            Self::PasseurHosts => Software::Passeur,
            Self::SynapseHosts => Software::Synapse,
        }
    }
}

/// What a server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Software {
    Passeur,
    Synapse,
}

impl Display for Software {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        write!(f, "{self:?}")
    }
}

/// The processes and the lines to them.
pub(super) struct Machines {
    pub(super) passeur: TestServer,
    pub(super) synapse: Synapse,
    pub(super) wires: [Wire; 2],
}

impl Machines {
    /// Lets neither server reach the other.
    pub(super) fn part(&self) {
        self.wires.iter().for_each(Wire::cut);
    }

    /// Lets each reach the other again.
    pub(super) fn rejoin(&self) {
        self.wires.iter().for_each(Wire::mend);
    }
}

/// A Passeur and a Synapse that federate.
pub(super) struct Pair {
    ca: Rc<TestCa>,
    machines: Rc<Mutex<Machines>>,
    passeur: Site,
    synapse: Site,
}

impl Pair {
    pub(super) async fn start() -> Self {
        let ca = Rc::new(TestCa::new());
        let to_passeur = Wire::lay("127.0.0.1").await;
        let to_synapse = Wire::lay(SYNAPSE_ADDRESS).await;
        let setup = Setup {
            wire: Some(to_passeur.ports()),
            ..Setup::default()
        };
        let passeur = TestServer::start_as(&ca, &setup);
        let synapse = Synapse::start_behind(&ca, SYNAPSE_ADDRESS, to_synapse.ports());
        Self {
            passeur: Site::of(Software::Passeur, &passeur),
            synapse: Site::of(Software::Synapse, &synapse),
            ca,
            machines: Rc::new(Mutex::new(Machines {
                passeur,
                synapse,
                wires: [to_passeur, to_synapse],
            })),
        }
    }

    /// A stage with people of its own.
    pub(super) async fn stage(&self, version: u8, direction: Direction) -> Stage {
        let (host, guest) = match direction {
            Direction::PasseurHosts => (&self.passeur, &self.synapse),
            Direction::SynapseHosts => (&self.synapse, &self.passeur),
        };
        Stage {
            version: version.to_string(),
            alice: host.person("alice").await,
            bob: guest.person("bob").await,
            host: host.clone(),
            guest: guest.clone(),
            authority: Rc::clone(&self.ca),
            machines: Rc::clone(&self.machines),
        }
    }

    /// Makes fair weather of whatever a failed story has left.
    pub(super) async fn calm(&self) {
        let mut machines = self.machines.lock().await;
        machines.rejoin();
        if !machines.passeur.is_running() {
            machines.passeur.restart();
        }
        if !machines.synapse.is_running() {
            machines.synapse.restart();
        }
    }

    /// The last warnings of Synapse, which tell why it did not take something.
    pub(super) async fn complaints(&self) -> String {
        let log = self.machines.lock().await.synapse.log();
        let lines = log.lines().rev();
        let lines = lines.filter(|line| line.contains(" WARNING ") || line.contains(" ERROR "));
        let mut last: Vec<&str> = lines.take(COMPLAINTS_MAX).collect();
        last.reverse();
        last.join("\n")
    }
}

/// A server as its users and other servers know it.
#[derive(Clone)]
pub(in super::super) struct Site {
    pub(in super::super) software: Software,
    server_name: String,
    client_url: String,
    http: reqwest::Client,
}

impl Site {
    /// A running server.
    pub(in super::super) fn of(software: Software, server: &impl Homeserver) -> Self {
        Self {
            software,
            server_name: server.server_name().to_owned(),
            client_url: server.client_url(),
            http: server.http(),
        }
    }

    /// A new user whose name begins with `name`.
    pub(in super::super) async fn person(&self, name: &str) -> User {
        User::register(self, &unique(name)).await
    }
}

impl Homeserver for Site {
    fn server_name(&self) -> &str {
        &self.server_name
    }

    fn client_url(&self) -> String {
        self.client_url.clone()
    }

    fn http(&self) -> reqwest::Client {
        self.http.clone()
    }
}

/// `name` with a number that no other has.
pub(in super::super) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{name}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Where one story happens.
pub(super) struct Stage {
    /// The room version.
    pub(super) version: String,
    pub(super) host: Site,
    pub(super) guest: Site,
    /// At the host.
    pub(super) alice: User,
    /// At the guest.
    pub(super) bob: User,
    /// The authority of both servers' certificates.
    pub(super) authority: Rc<TestCa>,
    /// The processes, for a story of foul weather.
    pub(super) machines: Rc<Mutex<Machines>>,
}

impl Stage {
    /// A room of Alice from the body of `createRoom`, of the story's version.
    pub(super) async fn room(&self, mut body: Value) -> String {
        body["room_version"] = json!(self.version);
        self.alice.create_room(body).await
    }

    /// A public room that both are in, of which both know.
    pub(super) async fn shared_room(&mut self) -> String {
        let room = self.room(json!({"preset": "public_chat"})).await;
        self.bob.join(&room, self.host.server_name()).await;
        self.alice.until_member(&room, &self.bob.id, "join").await;
        room
    }

    /// Each says something, and the other hears it under the right name.
    pub(super) async fn talk(&mut self, room: &str) {
        let (from_alice, from_bob) = (unique("quetzal: from Alice"), unique("quetzal: from Bob"));
        let sent = self.alice.send_text(room, &from_alice).await;
        let heard = self.bob.wait_text(room, &from_alice).await;
        assert_eq!(heard["event_id"], json!(sent));
        assert_eq!(heard["sender"], json!(self.alice.id));
        let sent = self.bob.send_text(room, &from_bob).await;
        let heard = self.alice.wait_text(room, &from_bob).await;
        assert_eq!(heard["event_id"], json!(sent));
        assert_eq!(heard["sender"], json!(self.bob.id));
    }

    /// Waits until both servers hold the very same state, and checks it.
    pub(super) async fn agree(&mut self, room: &str) {
        let Self { alice, bob, .. } = self;
        let others = &*alice;
        bob.until("the state that Alice sees", async |bob| {
            let (hers, his) = (others.whole_state(room).await, bob.whole_state(room).await);
            if hers == his {
                return Ok(());
            }
            let (only_hers, only_his) = (only_in(&hers, &his), only_in(&his, &hers));
            Err(format!("only hers {only_hers}, only his {only_his}"))
        })
        .await;
    }
}

/// The entries of one state that are not in another, for a message.
fn only_in<T: Debug + PartialEq>(one: &[T], other: &[T]) -> String {
    let only: Vec<&T> = one.iter().filter(|entry| !other.contains(*entry)).collect();
    format!("{only:?}")
}
