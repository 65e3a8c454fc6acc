//! Push rules: the default ones, one's own, their order.

use super::*;

const RULES: &str = "/pushrules/global";

async fn order(server: &Server, user: &User, kind: &str) -> Vec<String> {
    let rules = expect_ok(server.get(user, "/pushrules/").await);
    let rules = rules["global"][kind]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let ids = rules
        .iter()
        .map(|rule| rule["rule_id"].as_str().unwrap().to_owned());
    ids.filter(|id| !id.starts_with('.')).collect()
}

#[tokio::test]
async fn everybody_begins_with_the_default_rules() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let all = expect_ok(server.get(&alice, "/pushrules/").await);
    assert_eq!(all["global"]["override"][0]["rule_id"], ".m.rule.master");
    let same = expect_ok(server.get(&alice, "/pushrules/global/").await);
    assert_eq!(same, all["global"]);
    let id = ruma::UserId::parse(&alice.id).unwrap();
    let kept = server.app.store.account_datum(&id, None, "m.push_rules");
    assert!(kept.await.unwrap().is_some(), "a first sync shows them");
    let rule = expect_ok(
        server
            .get(&alice, &format!("{RULES}/override/.m.rule.master"))
            .await,
    );
    assert_eq!(rule["enabled"], false);
}

#[tokio::test]
async fn default_rules_are_switched_but_not_removed() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = format!("{RULES}/override/.m.rule.master");
    let enabled = format!("{path}/enabled");
    expect_ok(server.put(&alice, &enabled, json!({"enabled": true})).await);
    assert_eq!(
        expect_ok(server.get(&alice, &enabled).await),
        json!({"enabled": true})
    );
    let actions = format!("{RULES}/underride/.m.rule.message/actions");
    expect_ok(server.put(&alice, &actions, json!({"actions": []})).await);
    assert_eq!(
        expect_ok(server.get(&alice, &actions).await),
        json!({"actions": []})
    );
    let server = server.restart().await;
    assert_eq!(
        expect_ok(server.get(&alice, &enabled).await),
        json!({"enabled": true})
    );
    let answer = server
        .call("DELETE", &path, &alice.token, Value::Null)
        .await;
    expect(&answer, 400, "M_INVALID_PARAM");
    let body = json!({"actions": [], "conditions": []});
    let own = server
        .put(&alice, &format!("{RULES}/override/.mine"), body)
        .await;
    expect(&own, 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn own_rules_stand_where_they_are_put() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let put = async |id: &str| {
        let body = json!({"actions": ["notify"], "pattern": "cake"});
        server
            .put(&alice, &format!("{RULES}/content/{id}"), body)
            .await
    };
    expect_ok(put("one").await);
    expect_ok(put("two").await);
    assert_eq!(order(&server, &alice, "content").await, ["two", "one"]);
    expect_ok(put("three?after=two").await);
    assert_eq!(
        order(&server, &alice, "content").await,
        ["two", "three", "one"]
    );
    expect_ok(put("one?before=two").await);
    assert_eq!(
        order(&server, &alice, "content").await,
        ["one", "two", "three"]
    );
    expect(&put("four?before=nosuch").await, 400, "M_UNKNOWN");
    expect(
        &put("four?after=.m.rule.contains_user_name").await,
        400,
        "M_INVALID_PARAM",
    );
    let path = format!("{RULES}/content/two");
    let rule = expect_ok(server.get(&alice, &path).await);
    assert_eq!(rule["pattern"], "cake");
    expect_ok(
        server
            .call("DELETE", &path, &alice.token, Value::Null)
            .await,
    );
    expect(&server.get(&alice, &path).await, 404, "M_NOT_FOUND");
    expect(
        &server
            .call("DELETE", &path, &alice.token, Value::Null)
            .await,
        404,
        "M_NOT_FOUND",
    );
    assert_eq!(order(&server, &alice, "content").await, ["one", "three"]);
}

#[tokio::test]
async fn a_rule_moves_down_and_past_the_last() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let put = async |id: &str| {
        let body = json!({"actions": ["notify"], "pattern": "cake"});
        server
            .put(&alice, &format!("{RULES}/content/{id}"), body)
            .await
    };
    let order = async || order(&server, &alice, "content").await.join("");
    for id in ["c", "b", "a"] {
        expect_ok(put(id).await);
    }
    expect_ok(put("a?before=c").await);
    assert_eq!(order().await, "bac");
    expect_ok(put("b?after=a").await);
    assert_eq!(order().await, "abc");
    let off = json!({"enabled": false});
    let enabled = format!("{RULES}/content/a/enabled");
    expect_ok(server.put(&alice, &enabled, off.clone()).await);
    expect_ok(put("a?after=c").await);
    assert_eq!(order().await, "bca");
    assert_eq!(expect_ok(server.get(&alice, &enabled).await), off);
    assert_eq!(put("a?after=a").await.0, 400);
    assert_eq!(order().await, "bca");
}

#[tokio::test]
async fn rules_that_are_none_are_refused() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bad = [
        (format!("{RULES}/content/x"), json!({"actions": []})),
        (
            format!("{RULES}/content/x"),
            json!({"actions": 3, "pattern": "x"}),
        ),
        (
            format!("{RULES}/override/x"),
            json!({"actions": [], "conditions": "all"}),
        ),
    ];
    for (path, body) in bad {
        expect(&server.put(&alice, &path, body).await, 400, "M_BAD_JSON");
    }
    let path = format!("{RULES}/nosuch/x");
    assert_eq!(
        server.put(&alice, &path, json!({"actions": []})).await.0,
        400
    );
    let path = format!("{RULES}/override/x/enabled");
    expect(
        &server.put(&alice, &path, json!({"enabled": true})).await,
        404,
        "M_NOT_FOUND",
    );
    let huge = json!({"actions": [], "pattern": "x".repeat(300_000)});
    expect(
        &server
            .put(&alice, &format!("{RULES}/content/x"), huge)
            .await,
        400,
        "M_INVALID_PARAM",
    );
    assert!(order(&server, &alice, "content").await.is_empty());
}

#[tokio::test]
async fn a_rule_needs_no_conditions() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    for kind in ["override", "underride"] {
        let path = format!("/pushrules/global/{kind}/u.mine");
        let body = json!({"actions": ["notify"]});
        expect_ok(server.put(&alice, &path, body).await);
        let rule = expect_ok(server.get(&alice, &path).await);
        assert_eq!(rule["conditions"], json!([]));
        assert_eq!(rule["actions"], json!(["notify"]));
    }
    let path = "/pushrules/global/override/u.other";
    let answer = server.put(&alice, path, json!({"conditions": []})).await;
    expect(&answer, 400, "M_BAD_JSON");
    let wrong = json!({"actions": [], "conditions": 3});
    expect(&server.put(&alice, path, wrong).await, 400, "M_BAD_JSON");
}
