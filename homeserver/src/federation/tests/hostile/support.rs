//! Servers that do not say that they destroy what expires, at the door of a room that requires it.

use super::{transactions::text_of, *};
use crate::rooms::HostError;

const SUPPORT: &str = "/org.passeur/expiry";
const POLICY: &str = "org.passeur.room.expiry";

fn policy(require_support: bool) -> Value {
    json!({
        "default_ms": 300_000, "max_ms": 300_000, "after_read": false, "view_once": false,
        "require_support": require_support,
    })
}

/// A public room of Alice's with a policy, and two servers outside of it, of which the good one claims support.
async fn siege(require_support: bool) -> Siege {
    let mut siege = Siege::start().await;
    let claim = json!({ "versions": ["1"], "purge_lag_ms": 20_000 });
    siege.good.serve(SUPPORT, claim);
    let room = siege.here.create(Preset::PublicChat, RoomVersionId::V12);
    siege.room = room.await;
    let Siege { here, room, .. } = &siege;
    here.put(room, POLICY, "", policy(require_support)).await;
    siege
}

/// Asks for a template.
async fn template(siege: &Siege, peer: &Hostile, who: &OwnedUserId) -> Result<(), HostError> {
    let (rooms, name) = (&siege.here.app.rooms, peer.keys.server_name());
    let template = rooms.template(name, &siege.room, who, Membership::Join, &[]);
    template.await.map(|_| ())
}

/// Sends a join that needed no template.
async fn send_join(siege: &Siege, peer: &Hostile, who: &OwnedUserId) -> (u16, Value) {
    let Siege { here, room, .. } = siege;
    let content = json!({ "membership": "join" });
    let key = Some(who.as_str());
    let made = here.made(room, who.clone(), "m.room.member", key, content);
    let event = peer.sign(&*here.now(room).await, &made.await);
    let id = &event.pdu().event_id;
    let uri = format!("/_matrix/federation/v2/send_join/{room}/{id}");
    peer.put(here, &uri, &text_of(&event)).await
}

#[tokio::test]
async fn whoever_does_not_claim_support_is_not_let_in_where_it_is_required() {
    let siege = siege(true).await;
    let Siege {
        here, evil, good, ..
    } = &siege;
    let refused = template(&siege, evil, &mallory()).await;
    assert!(matches!(refused, Err(HostError::ExpiryRequired)));
    let (status, answer) = send_join(&siege, evil, &mallory()).await;
    assert_eq!(
        (status, &answer["errcode"]),
        (403, &json!("M_FORBIDDEN")),
        "{answer}"
    );
    let held = here.membership(&siege.room, &mallory()).await;
    assert_eq!(held, Membership::Leave);
    assert_eq!(evil.heard(SUPPORT).len(), 1, "asked once");
    // Whoever does is let in.
    template(&siege, good, &dora()).await.unwrap();
    assert_eq!(send_join(&siege, good, &dora()).await.0, 200);
    let held = here.membership(&siege.room, &dora()).await;
    assert_eq!(held, Membership::Join);
}

#[tokio::test]
async fn without_the_requirement_nobody_is_asked_and_everybody_let_in() {
    let siege = siege(false).await;
    let Siege { here, evil, .. } = &siege;
    template(&siege, evil, &mallory()).await.unwrap();
    assert_eq!(send_join(&siege, evil, &mallory()).await.0, 200);
    let held = here.membership(&siege.room, &mallory()).await;
    assert_eq!(held, Membership::Join);
    assert!(evil.heard(SUPPORT).is_empty());
}

#[tokio::test]
async fn nobody_is_invited_whose_server_does_not_claim_support_where_it_is_required() {
    for (require_support, reached) in [(true, 0), (false, 1)] {
        let siege = siege(require_support).await;
        let Siege {
            here,
            evil,
            good,
            room,
            ..
        } = &siege;
        let invite = async |user: OwnedUserId| {
            let change = MembershipChange {
                room_id: room.clone(),
                sender: alice(),
                user,
                content: Profile::default().member("invite", false),
            };
            here.app.rooms.invite(change).await
        };
        let refused = invite(mallory()).await.unwrap_err();
        assert_eq!(
            matches!(refused, JoinError::ExpiryRequired),
            require_support,
            "{refused}"
        );
        assert_eq!(evil.heard("/invite/").len(), reached);
        // This one answers no invite, but is sent it.
        assert!(invite(dora()).await.is_err());
        assert_eq!(good.heard("/invite/").len(), 1);
    }
}

#[tokio::test]
async fn members_are_told_which_servers_do_not_claim_support() {
    let siege = siege(false).await;
    let Siege {
        here, evil, good, ..
    } = &siege;
    for (peer, who) in [(evil, mallory()), (good, dora())] {
        assert_eq!(send_join(&siege, peer, &who).await.0, 200);
    }
    let told = async || {
        let now = here.now(&siege.room).await;
        let without = here.app.rooms.servers_without_support(&now).await;
        (without.lacking, without.unknown)
    };
    let evil_name = evil.keys.server_name().to_owned();
    assert_eq!(told().await, (vec![evil_name.clone()], Vec::new()));
    // One that cannot be reached is told apart.
    let third = Hostile::start("third.example", &siege.wires);
    let who = user("@tom:third.example");
    assert_eq!(send_join(&siege, &third, &who).await.0, 200);
    siege.wires.0.lock().unwrap().remove("third.example");
    let unknown = vec![third.keys.server_name().to_owned()];
    assert_eq!(told().await, (vec![evil_name], unknown));
}
