//! Keys of servers that are honest, down, forged, rotated, or vouched for.

use passeur_protocol::json::parse_object;
use ruma::{owned_server_name, server_name, uint};

use super::*;
use crate::outbound::testing::{Here, Peer, federation, json, key_pair};

fn wanted(
    server: &ServerName,
    key_id: &str,
) -> BTreeMap<OwnedServerName, Vec<OwnedServerSigningKeyId>> {
    BTreeMap::from([(server.to_owned(), vec![key_id.try_into().unwrap()])])
}

impl Here {
    async fn has(&self, server: &ServerName, key_id: &str, at_ms: i64) -> bool {
        let at = MilliSecondsSinceUnixEpoch(at_ms.try_into().unwrap());
        let found = self
            .keys
            .keys_for(&wanted(server, key_id), Some(at))
            .await
            .unwrap();
        found.contains_key(server.as_str())
    }
}

const DAY_MS: i64 = 24 * 3600 * 1000;

#[tokio::test]
async fn a_key_is_fetched_once_and_survives_a_restart() {
    let mut here = Here::start(server_name!("here.org")).await;
    let peer = server_name!("peer.org");
    Peer::start(&here.network, peer, &here.clock);
    let now = here.clock.now_ms();
    assert!(here.has(peer, "ed25519:peer", now).await);
    assert!(here.has(peer, "ed25519:peer", now).await);
    assert_eq!(here.network.count(peer), 1);

    here.store.reopen().await;
    here.network.remove(peer);
    here.keys = ServerKeys::new(
        here.keys.own().clone(),
        Arc::clone(&here.store.store),
        here.remote.clone(),
        &here.config,
        Arc::new(here.clock.clone()),
    );
    assert!(here.has(peer, "ed25519:peer", now).await);
}

#[tokio::test]
async fn many_who_want_a_key_make_one_request() {
    let here = Here::start(server_name!("here.org")).await;
    let peer = server_name!("peer.org");
    Peer::start(&here.network, peer, &here.clock);
    let now = here.clock.now_ms();
    let found = future::join_all((0..20).map(|_| here.has(peer, "ed25519:peer", now))).await;
    assert!(found.into_iter().all(|found| found));
    assert_eq!(here.network.count(peer), 1);
}

#[tokio::test]
async fn a_key_proves_nothing_after_its_validity() {
    let here = Here::start(server_name!("here.org")).await;
    let peer = server_name!("peer.org");
    Peer::start(&here.network, peer, &here.clock);
    let now = here.clock.now_ms();
    assert!(here.has(peer, "ed25519:peer", now + 2 * DAY_MS).await);
    assert!(!here.has(peer, "ed25519:peer", now + 2 * DAY_MS + 1).await);
    assert!(!here.has(peer, "ed25519:other", now).await);
    // Without a moment, any key counts that the server ever had.
    here.network.remove(peer);
    here.clock.advance(Duration::from_secs(30 * 24 * 3600));
    let found = here
        .keys
        .keys_for(&wanted(peer, "ed25519:peer"), None)
        .await
        .unwrap();
    assert!(found.contains_key(peer.as_str()));
}

#[tokio::test]
async fn a_server_that_is_down_is_left_alone_for_longer_and_longer() {
    let here = Here::start(server_name!("here.org")).await;
    let peer = server_name!("peer.org");
    let now = here.clock.now_ms();
    for (wait_s, requests) in [(0, 1), (4, 1), (1, 2), (9, 2), (1, 3)] {
        here.clock.advance(Duration::from_secs(wait_s));
        assert!(!here.has(peer, "ed25519:peer", now).await);
        assert_eq!(here.network.count(peer), requests);
    }
    Peer::start(&here.network, peer, &here.clock);
    here.clock.advance(Duration::from_secs(20));
    assert!(here.has(peer, "ed25519:peer", now).await);
}

#[tokio::test]
async fn forged_documents_are_not_believed() {
    let here = Here::start(server_name!("here.org")).await;
    let now = here.clock.now_ms();
    let honest = OwnKeys::new(
        owned_server_name!("peer.org"),
        key_pair("peer"),
        Arc::new(here.clock.clone()),
    );
    let document = signed_document(&honest).unwrap().json().get().to_owned();
    let forged = [
        document.replace("peer.org", "evil.org"),
        document.replace("valid_until_ts\":1", "valid_until_ts\":2"),
        document.replace("\"signatures\"", "\"ignored\""),
        document.replace("ed25519:peer", "ed25519:else"),
        document.replacen('{', "{\"server_name\":\"peer.org\",", 1),
        "[]".to_owned(),
    ];
    for (index, document) in forged.into_iter().enumerate() {
        let peer: OwnedServerName = format!("peer{index}.org").try_into().unwrap();
        // Each is served to one who asks for the name that it is about.
        assert!(
            document::check(document.as_bytes(), server_name!("peer.org"), now).is_err(),
            "{index}"
        );
        here.network
            .serve(&peer, move |_| json(200, document.clone()));
        assert!(!here.has(&peer, "ed25519:peer", now).await, "{index}");
    }
    // The control: unaltered, it is believed.
    assert!(document::check(document.as_bytes(), server_name!("peer.org"), now).is_ok());
}

#[tokio::test]
async fn validity_is_capped_and_old_keys_end_when_they_were_retired() {
    let here = Here::start(server_name!("here.org")).await;
    let now = here.clock.now_ms();
    let own = OwnKeys::new(
        owned_server_name!("peer.org"),
        key_pair("new"),
        Arc::new(here.clock.clone()),
    );
    let mut object = own.document().unwrap();
    object.remove("signatures");
    let old = key_pair("old");
    let old_key = serde_json::json!({"ed25519:old": {
        "key": ruma::serde::Base64::<ruma::serde::base64::Standard>::new(old.public_key().to_vec()),
        "expired_ts": now - DAY_MS,
    }});
    object.insert("old_verify_keys".to_owned(), old_key.try_into().unwrap());
    object.insert(
        "valid_until_ts".to_owned(),
        ruma::Int::try_from(now + 300 * DAY_MS).unwrap().into(),
    );
    own.sign(&mut object).unwrap();
    let document = serde_json::to_string(&object).unwrap();
    here.network.serve(server_name!("peer.org"), move |_| {
        json(200, document.clone())
    });
    let peer = server_name!("peer.org");
    assert!(here.has(peer, "ed25519:new", now + 7 * DAY_MS).await);
    assert!(!here.has(peer, "ed25519:new", now + 8 * DAY_MS).await);
    assert!(here.has(peer, "ed25519:old", now - DAY_MS).await);
    assert!(!here.has(peer, "ed25519:old", now).await);
}

#[tokio::test]
async fn a_notary_is_believed_only_if_it_is_configured_and_signs() {
    let name = server_name!("here.org");
    let notary = server_name!("notary.org");
    let peer = server_name!("peer.org");
    for (trusted, signs, believed) in [
        (true, true, true),
        (false, true, false),
        (true, false, false),
    ] {
        let mut config = (*federation(name)).clone();
        config.trusted_notaries = if trusted {
            vec![notary.to_owned()]
        } else {
            Vec::new()
        };
        let here = Here::with_config(name, Arc::new(config)).await;
        let clock: Arc<dyn Clock> = Arc::new(here.clock.clone());
        let notary_keys = OwnKeys::new(notary.to_owned(), key_pair("notary"), Arc::clone(&clock));
        let peer_keys = OwnKeys::new(peer.to_owned(), key_pair("peer"), clock);
        let now = here.clock.now_ms();
        here.network.serve(notary, move |request| {
            if request.method() == http::Method::GET {
                return json(
                    200,
                    signed_document(&notary_keys)
                        .unwrap()
                        .json()
                        .get()
                        .to_owned(),
                );
            }
            let asked: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
            let wanted = &asked["server_keys"]["peer.org"]["ed25519:peer"];
            assert_eq!(wanted["minimum_valid_until_ts"], now, "{asked}");
            let mut document = peer_keys.document().unwrap();
            if signs {
                notary_keys.sign(&mut document).unwrap();
            }
            json(
                200,
                serde_json::json!({"server_keys": [document]}).to_string(),
            )
        });
        let found = here.has(peer, "ed25519:peer", here.clock.now_ms()).await;
        assert_eq!(found, believed, "trusted {trusted}, signs {signs}");
    }
}

#[tokio::test]
async fn what_is_vouched_for_carries_both_signatures() {
    let here = Here::start(server_name!("here.org")).await;
    let peer = server_name!("peer.org");
    Peer::start(&here.network, peer, &here.clock);
    let document = here.keys.vouch(peer, None).await.unwrap().unwrap();
    let json = document.json().get();
    assert!(document::check(json.as_bytes(), peer, here.clock.now_ms()).is_ok());
    let own = here.keys.own();
    assert!(document::is_signed_by(
        json.as_bytes(),
        own.server_name(),
        own.public_keys()
    ));
    let too_long = MilliSecondsSinceUnixEpoch(
        uint!(0).max((here.clock.now_ms() + 9 * DAY_MS).try_into().unwrap()),
    );
    assert!(
        here.keys
            .vouch(peer, Some(too_long))
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        here.keys
            .vouch(server_name!("nobody.org"), None)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn our_own_document_is_what_others_believe() {
    let here = Here::start(server_name!("here.org")).await;
    let document = signed_document(here.keys.own()).unwrap();
    let checked = document::check(
        document.json().get().as_bytes(),
        server_name!("here.org"),
        here.clock.now_ms(),
    );
    assert_eq!(checked.unwrap().keys[0].key_id, "ed25519:here");
    assert!(parse_object(document.json().get().as_bytes(), 4096).is_ok());
}

#[tokio::test]
async fn a_retired_key_is_published_as_such_and_holds_for_what_it_signed() {
    let here = Here::start(server_name!("here.org")).await;
    let retired = StoredKey {
        key_id: "ed25519:old".to_owned(),
        public_key: ruma::serde::Base64::new(key_pair("old").public_key().to_vec()),
        valid_until_ts: here.clock.now_ms() - 1,
    };
    let own = here.keys.own().clone().with_retired(vec![retired.clone()]);
    let document = serde_json::to_value(own.document().unwrap()).unwrap();
    assert_eq!(
        document["old_verify_keys"],
        serde_json::json!({"ed25519:old": {"key": retired.public_key, "expired_ts": retired.valid_until_ts}})
    );
    assert!(document["verify_keys"].get("ed25519:old").is_none());
    assert!(document["verify_keys"]["ed25519:here"]["key"].is_string());
    let holds = |at| own.keys_at(at).contains_key("ed25519:old");
    assert!(holds(None) && holds(Some(retired.valid_until_ts)));
    assert!(!holds(Some(retired.valid_until_ts + 1)));
}

#[tokio::test]
async fn a_key_on_the_deny_list_proves_nothing() {
    let (name, peer) = (server_name!("here.org"), server_name!("peer.org"));
    let open = Here::start(name).await;
    let stolen = Peer::start(&open.network, peer, &open.clock);
    let now = open.clock.now_ms();
    // The control: without the list it is a key like any other.
    assert!(open.has(peer, "ed25519:peer", now).await);
    let mut config = (*federation(name)).clone();
    config.denied_keys = stolen.keys.public_keys().into_values().collect();
    let here = Here::with_config(name, Arc::new(config)).await;
    let published = stolen.keys.clone();
    here.network.serve(peer, move |_| {
        let document = signed_document(&published).unwrap();
        json(200, document.json().get().to_owned())
    });
    assert!(!here.has(peer, "ed25519:peer", now).await);
}

#[tokio::test]
async fn a_key_that_a_server_has_since_a_moment_ago_is_asked_for_at_once_but_not_often() {
    let here = Here::start(server_name!("here.org")).await;
    let peer = server_name!("peer.org");
    Peer::start(&here.network, peer, &here.clock);
    let now = here.clock.now_ms();
    assert!(here.has(peer, "ed25519:peer", now).await);
    let rotated = OwnKeys::new(
        peer.to_owned(),
        key_pair("new"),
        Arc::new(here.clock.clone()),
    );
    here.network.serve(peer, move |_| {
        let document = signed_document(&rotated).unwrap();
        json(200, document.json().get().to_owned())
    });
    assert!(here.has(peer, "ed25519:new", now).await);
    assert_eq!(here.network.count(peer), 2);
    // Made-up keys are asked for a few times, and then no more than before.
    for made_up in ["ed25519:a", "ed25519:b", "ed25519:c", "ed25519:d"] {
        assert!(!here.has(peer, made_up, now).await);
    }
    assert_eq!(here.network.count(peer), 4);
    here.clock.advance(PAUSE_AFTER_SUCCESS);
    assert!(!here.has(peer, "ed25519:a", now).await);
    assert_eq!(here.network.count(peer), 5);
    // A key that is known and not valid at the moment is no new one.
    assert!(!here.has(peer, "ed25519:new", now + 300 * DAY_MS).await);
    assert_eq!(here.network.count(peer), 5);
}

#[tokio::test]
async fn a_key_whose_time_has_run_out_is_asked_for_again_at_once() {
    let here = Here::start(server_name!("here.org")).await;
    let peer = server_name!("peer.org");
    let key = key_pair("peer");
    // Documents are valid for a time from when they are made: this one was made long ago.
    let publish = |made_ms: i64| {
        let clock = Arc::new(crate::clock::MockClock::new(made_ms));
        let keys = OwnKeys::new(peer.to_owned(), Arc::clone(&key), clock);
        here.network.serve(peer, move |_| {
            let document = signed_document(&keys).unwrap();
            json(200, document.json().get().to_owned())
        });
    };
    let start = here.clock.now_ms();
    publish(start - 2 * DAY_MS + 10_000);
    assert!(here.has(peer, "ed25519:peer", start).await);
    here.clock.advance(Duration::from_secs(15));
    let now = here.clock.now_ms();
    publish(now - 2 * DAY_MS + 10_000);
    assert!(here.has(peer, "ed25519:peer", now).await);
    assert_eq!(here.network.count(peer), 2);
    // One that stays as it is is asked for a few times, and then no more.
    here.clock.advance(Duration::from_secs(15));
    let now = here.clock.now_ms();
    for _ in 0..9 {
        assert!(!here.has(peer, "ed25519:peer", now).await);
    }
    assert_eq!(here.network.count(peer), 4);
}
