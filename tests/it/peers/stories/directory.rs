//! What one finds without being in the room: public rooms, the rooms of a space, people.

use passeur_tests::{
    Homeserver,
    user::{User, escape},
};
use serde_json::{Value, json};

use super::stage::{Stage, unique};

pub(super) async fn public_rooms_are_found(mut stage: Stage) {
    let name = unique("quetzal market");
    let room = stage
        .room(json!({"preset": "public_chat", "visibility": "public", "name": name, "topic": "quetzal prices"}))
        .await;
    let hidden = stage
        .room(json!({"preset": "public_chat", "name": unique("quetzal back room")}))
        .await;
    let server = escape(stage.host.server_name());
    stage
        .bob
        .until("the room in the directory", async |bob| {
            let list = bob
                .get(&format!("/v3/publicRooms?limit=200&server={server}"))
                .await;
            let entries = list["chunk"].as_array().expect("a list");
            let find = |id: &str| entries.iter().find(|entry| entry["room_id"] == *id);
            assert!(find(&hidden).is_none(), "a room that is not listed");
            let Some(entry) = find(&room) else {
                return Err(list.to_string());
            };
            assert_eq!(entry["name"], json!(name));
            assert_eq!(entry["topic"], "quetzal prices");
            assert_eq!(entry["num_joined_members"], 1);
            assert_eq!(entry["world_readable"], false);
            assert_eq!(entry["guest_can_join"], false);
            assert_eq!(entry["join_rule"], "public");
            Ok(())
        })
        .await;
    let filter = json!({"limit": 5, "filter": {"generic_search_term": name}});
    let found = stage
        .bob
        .post(&format!("/v3/publicRooms?server={server}"), filter)
        .await;
    let ids: Vec<&Value> = found["chunk"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| &entry["room_id"])
        .collect();
    assert_eq!(ids, [&json!(room)]);
}

pub(super) async fn a_space_shows_its_rooms(mut stage: Stage) {
    let host = stage.host.server_name().to_owned();
    let space = stage
        .room(json!({"preset": "public_chat", "name": "quetzal valley", "creation_content": {"type": "m.space"}}))
        .await;
    let inner = stage
        .room(json!({"preset": "public_chat", "name": "quetzal wood", "creation_content": {"type": "m.space"}}))
        .await;
    let open = stage
        .room(json!({"preset": "public_chat", "name": "quetzal tree"}))
        .await;
    let closed = stage
        .room(json!({"preset": "private_chat", "name": "quetzal secret"}))
        .await;
    for (parent, child) in [(&space, &inner), (&inner, &open), (&space, &closed)] {
        stage
            .alice
            .set_state(parent, "m.space.child", child, json!({"via": [host]}))
            .await;
    }
    stage.bob.join(&space, &host).await;
    let path = format!("/v1/rooms/{}/hierarchy?limit=20", escape(&space));
    stage
        .bob
        .until("the rooms of the space", async |bob| {
            let page = bob.get(&path).await;
            let rooms = page["rooms"].as_array().expect("rooms");
            let mut ids: Vec<&str> = rooms
                .iter()
                .filter_map(|room| room["room_id"].as_str())
                .collect();
            assert!(!ids.contains(&closed.as_str()), "{page}");
            let mut wanted = [space.as_str(), &inner, &open];
            ids.sort_unstable();
            wanted.sort_unstable();
            if ids != wanted {
                return Err(page.to_string());
            }
            let of = |id: &str| rooms.iter().find(|room| room["room_id"] == *id).unwrap();
            assert_eq!(of(&inner)["room_type"], "m.space");
            assert_eq!(of(&open)["name"], "quetzal tree");
            assert_eq!(of(&open)["join_rule"], "public");
            let edges = of(&inner)["children_state"].as_array().unwrap();
            assert!(
                edges.iter().any(|edge| edge["state_key"] == *open),
                "{page}"
            );
            Ok(())
        })
        .await;
}

pub(super) async fn a_new_name_is_seen(mut stage: Stage) {
    let room = stage.shared_room().await;
    stage.talk(&room).await;
    let Stage { alice, bob, .. } = &mut stage;
    renames(&room, alice, bob).await;
    renames(&room, bob, alice).await;
}

async fn renames(room: &str, who: &User, other: &mut User) {
    let name = unique("Quetzal");
    let path = format!("/v3/profile/{}/displayname", escape(&who.id));
    who.put(&path, json!({"displayname": name})).await;
    let id = who.id.clone();
    other
        .until("the other's new name", async |other| {
            let profile = other.get(&format!("/v3/profile/{}", escape(&id))).await;
            let member = other.state(room, "m.room.member", &id).await;
            let member = member.map_err(|refusal| refusal.body)?;
            let both = profile["displayname"] == *name && member["displayname"] == *name;
            both.then_some(())
                .ok_or_else(|| format!("{profile} and {member}"))
        })
        .await;
}
