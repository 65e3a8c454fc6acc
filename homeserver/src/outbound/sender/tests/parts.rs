//! The parts that a delivery needs, as the server puts them together.

use super::*;
use crate::rooms::typing::Typing;

/// How often a test looks again before it gives up: a matter of seconds.
pub(super) const YIELDS_MAX: usize = 5_000_000;

/// The least that a server must be sent of an event here: who and what.
fn shown(event: &Event, _: i64) -> Result<String, ProjectionError> {
    let content: Value =
        serde_json::from_str(event.pdu.content.get()).map_err(|_| ProjectionError)?;
    Ok(json!({"id": event.id(), "content": content}).to_string())
}

/// Starts rooms and a sender on what the server has stored.
pub(super) fn start(here: &Here, drain: &Drain) -> (Arc<Rooms>, Sender) {
    let store = Arc::clone(&here.store.store);
    let rooms = Rooms::new(RoomsContext {
        store: Arc::clone(&store),
        clock: Arc::new(here.clock.clone()),
        rng: Arc::new(SeededRng::new(7)),
        server_name: server_name!("here.org").to_owned(),
        key_pair: Arc::clone(here.keys.own().key_pair()),
        remote: here.remote.clone(),
        server_keys: here.keys.clone(),
        typing: Typing::new(Arc::new(here.clock.clone())),
    });
    let sender = Sender::start(SenderContext {
        store: Arc::clone(&store),
        remote: here.remote.clone(),
        clock: Arc::new(here.clock.clone()),
        rng: Arc::new(SeededRng::new(here.network.requests().len() as u64)),
        projection: shown,
        drain: drain.clone(),
        edus: vec![
            Arc::new(Receipts {
                store: Arc::clone(&store),
                server_name: server_name!("here.org").to_owned(),
            }),
            Arc::new(DeviceLists {
                store,
                server_name: server_name!("here.org").to_owned(),
            }),
        ],
    });
    (rooms, sender)
}

/// A server that takes whatever it is sent.
pub(super) fn accept(network: &Network, server: &ServerName) {
    network.serve(server, |_| answer(200, r#"{"pdus":{}}"#));
}
