//! Resolution against a domain name system and a web that are made up.

use std::{collections::BTreeMap, net::IpAddr, sync::Mutex};

use bytes::Bytes;
use http::{Response, header};
use ruma::server_name;

use super::*;
use crate::{
    clock::MockClock,
    config::FederationConfig,
    outbound::{Bounds, Pending, RemoteError, dns::Dns},
};

const PUBLIC: &str = "198.41.0.4";
const OTHER: &str = "199.9.14.201";
const PRIVATE: &str = "10.0.0.7";

type Document = (u16, Option<(&'static str, String)>, String);

/// Names and documents; look-ups are noted.
#[derive(Debug, Default)]
struct World {
    addresses: Mutex<BTreeMap<String, Vec<IpAddr>>>,
    services: BTreeMap<String, Vec<Service>>,
    /// By `host:port` and path: status, header and body.
    documents: BTreeMap<String, Document>,
    fetched: Mutex<Vec<(String, Vec<IpAddr>)>>,
}

impl World {
    fn host(self, host: &str, addresses: &[&str]) -> Self {
        self.move_host(host, addresses);
        self
    }

    fn move_host(&self, host: &str, addresses: &[&str]) {
        let addresses = addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        self.addresses
            .lock()
            .unwrap()
            .insert(host.to_owned(), addresses);
    }

    fn service(mut self, name: &str, priority: u16, target: &str, port: u16) -> Self {
        let service = Service {
            priority,
            weight: 0,
            target: target.to_owned(),
            port,
        };
        self.services
            .entry(name.to_owned())
            .or_default()
            .push(service);
        self
    }

    fn delegates(self, host: &str, to: &str) -> Self {
        let body = format!("{{\"m.server\":\"{to}\"}}");
        self.document(
            &format!("{host}:443/.well-known/matrix/server"),
            200,
            None,
            body,
        )
    }

    fn document(
        mut self,
        url: &str,
        status: u16,
        header: Option<(&'static str, String)>,
        body: String,
    ) -> Self {
        self.documents
            .insert(url.to_owned(), (status, header, body));
        self
    }
}

impl Dns for World {
    fn addresses<'a>(&'a self, host: &'a str) -> Pending<'a, Result<Vec<IpAddr>, ResolveError>> {
        let found = self.addresses.lock().unwrap().get(host).cloned();
        Box::pin(async move { Ok(found.unwrap_or_default()) })
    }

    fn services<'a>(&'a self, name: &'a str) -> Pending<'a, Result<Vec<Service>, ResolveError>> {
        Box::pin(async move { Ok(self.services.get(name).cloned().unwrap_or_default()) })
    }
}

impl Web for World {
    fn get<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        path: &'a str,
        _: Bounds,
    ) -> Pending<'a, Result<Response<Bytes>, RemoteError>> {
        let url = format!("{}:{}{path}", endpoint.host, endpoint.port);
        self.fetched
            .lock()
            .unwrap()
            .push((url.clone(), endpoint.addresses.clone()));
        Box::pin(async move {
            let (status, header, body) = self.documents.get(&url).ok_or(RemoteError::Connect)?;
            let mut response = Response::builder().status(*status);
            if let Some((name, value)) = header {
                response = response.header(*name, value);
            }
            Ok(response.body(Bytes::from(body.clone())).unwrap())
        })
    }
}

struct Setting {
    names: ServerNames,
    world: Arc<World>,
    clock: MockClock,
}

fn setting(world: World, private_ranges: &[&str]) -> Setting {
    let world = Arc::new(world);
    let clock = MockClock::default();
    let config = FederationConfig {
        private_ranges: private_ranges
            .iter()
            .map(|range| range.parse().unwrap())
            .collect(),
        ..FederationConfig::default()
    };
    let dns = CheckedDns::new(Arc::clone(&world) as Arc<dyn Dns>, Arc::new(config));
    let web = Arc::clone(&world) as Arc<dyn Web>;
    Setting {
        names: ServerNames::new(dns, web, Arc::new(clock.clone())),
        world,
        clock,
    }
}

/// `Host` header, then each endpoint as `certificate name:port@address`.
async fn check(world: World, name: &ServerName) -> Result<String, ResolveError> {
    let setting = setting(world, &[]);
    setting.names.resolve(name).await.map(|route| shown(&route))
}

fn shown(route: &Route) -> String {
    let endpoints = route.endpoints.iter().map(|endpoint| {
        let addresses: Vec<String> = endpoint.addresses.iter().map(ToString::to_string).collect();
        format!(
            "{}:{}@{}",
            endpoint.host,
            endpoint.port,
            addresses.join(",")
        )
    });
    format!(
        "{} {}",
        route.host_header,
        endpoints.collect::<Vec<_>>().join(" ")
    )
}

#[tokio::test]
async fn an_ip_literal_is_taken_as_it_stands() {
    let route = check(World::default(), server_name!("198.41.0.4"))
        .await
        .unwrap();
    assert_eq!(route, "198.41.0.4 198.41.0.4:8448@198.41.0.4");
    let route = check(World::default(), server_name!("[2606:4700::1111]:99"))
        .await
        .unwrap();
    assert_eq!(
        route,
        "[2606:4700::1111]:99 [2606:4700::1111]:99@2606:4700::1111"
    );
}

#[tokio::test]
async fn a_port_excludes_delegation_and_service_records() {
    let world = World::default()
        .host("a.org", &[PUBLIC])
        .delegates("a.org", "b.org")
        .service("_matrix-fed._tcp.a.org", 0, "c.org", 1);
    let route = check(world, server_name!("a.org:99")).await.unwrap();
    assert_eq!(route, "a.org:99 a.org:99@198.41.0.4");
}

#[tokio::test]
async fn delegation_decides_host_header_and_certificate() {
    let world = World::default()
        .host("a.org", &[PUBLIC])
        .host("b.org", &[OTHER]);
    let route = check(world.delegates("a.org", "b.org:44"), server_name!("a.org"))
        .await
        .unwrap();
    assert_eq!(route, "b.org:44 b.org:44@199.9.14.201");

    let world = World::default()
        .host("a.org", &[PUBLIC])
        .host("b.org", &[OTHER]);
    let route = check(world.delegates("a.org", "b.org"), server_name!("a.org"))
        .await
        .unwrap();
    assert_eq!(route, "b.org b.org:8448@199.9.14.201");

    let world = World::default().host("a.org", &[PUBLIC]);
    let route = check(world.delegates("a.org", OTHER), server_name!("a.org"))
        .await
        .unwrap();
    assert_eq!(route, "199.9.14.201 199.9.14.201:8448@199.9.14.201");
}

#[tokio::test]
async fn a_service_record_moves_the_connection_but_not_the_certificate() {
    let world = World::default()
        .host("a.org", &[PUBLIC])
        .host("far.org", &[OTHER])
        .service("_matrix-fed._tcp.a.org", 20, "a.org", 7)
        .service("_matrix-fed._tcp.a.org", 10, "far.org", 8)
        .service("_matrix._tcp.a.org", 0, "old.org", 9);
    let route = check(world, server_name!("a.org")).await.unwrap();
    assert_eq!(route, "a.org a.org:8@199.9.14.201 a.org:7@198.41.0.4");
}

#[tokio::test]
async fn the_older_service_record_is_the_second_choice_and_port_8448_the_last() {
    let world =
        World::default()
            .host("old.org", &[OTHER])
            .service("_matrix._tcp.a.org", 0, "old.org", 9);
    let route = check(world, server_name!("a.org")).await.unwrap();
    assert_eq!(route, "a.org a.org:9@199.9.14.201");
    let route = check(
        World::default().host("a.org", &[PUBLIC]),
        server_name!("a.org"),
    )
    .await;
    assert_eq!(route.unwrap(), "a.org a.org:8448@198.41.0.4");
}

#[tokio::test]
async fn a_redirect_is_followed_only_over_https_and_not_for_ever() {
    let at = |host: &str| format!("{host}:443/.well-known/matrix/server");
    let to = |url: &str| Some((header::LOCATION.as_str(), url.to_owned()));
    let hosts = || {
        World::default()
            .host("a.org", &[PUBLIC])
            .host("b.org", &[OTHER])
    };
    let followed = hosts()
        .document(
            &at("a.org"),
            302,
            to("https://b.org/.well-known/matrix/server"),
            String::new(),
        )
        .delegates("b.org", "b.org:5");
    assert_eq!(
        check(followed, server_name!("a.org")).await.unwrap(),
        "b.org:5 b.org:5@199.9.14.201"
    );

    let plain = hosts()
        .document(
            &at("a.org"),
            302,
            to("http://b.org/.well-known/matrix/server"),
            String::new(),
        )
        .delegates("b.org", "b.org:5");
    assert_eq!(
        check(plain, server_name!("a.org")).await.unwrap(),
        "a.org a.org:8448@198.41.0.4"
    );

    let circle = hosts().document(
        &at("a.org"),
        302,
        to("/.well-known/matrix/server"),
        String::new(),
    );
    let setting = setting(circle, &[]);
    let route = setting.names.resolve(server_name!("a.org")).await.unwrap();
    assert_eq!(shown(&route), "a.org a.org:8448@198.41.0.4");
    assert_eq!(setting.world.fetched.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn private_addresses_are_refused_at_every_step() {
    let name = server_name!("a.org");
    let direct = || World::default().host("a.org", &[PRIVATE]);
    assert_eq!(check(direct(), name).await, Err(ResolveError::Refused));
    assert_eq!(
        check(direct(), server_name!("a.org:1")).await,
        Err(ResolveError::Refused)
    );
    assert_eq!(
        check(World::default(), server_name!("127.0.0.1")).await,
        Err(ResolveError::Refused)
    );
    assert_eq!(
        check(World::default(), server_name!("[::1]:1")).await,
        Err(ResolveError::Refused)
    );
    let mapped = World::default().host("a.org", &["::ffff:127.0.0.1"]);
    assert_eq!(check(mapped, name).await, Err(ResolveError::Refused));

    let delegated = World::default()
        .host("a.org", &[PUBLIC])
        .host("b.org", &[PRIVATE]);
    let delegated = delegated.delegates("a.org", "b.org:4");
    assert_eq!(check(delegated, name).await, Err(ResolveError::Refused));

    let service = World::default().host("inner.org", &[PRIVATE]).service(
        "_matrix-fed._tcp.a.org",
        0,
        "inner.org",
        1,
    );
    assert_eq!(check(service, name).await, Err(ResolveError::Refused));

    // The document itself is not fetched from a private address, nor after a redirect to one.
    let at = "a.org:443/.well-known/matrix/server";
    let to = Some((
        header::LOCATION.as_str(),
        "https://inner.org/secret".to_owned(),
    ));
    let redirect = World::default()
        .host("a.org", &[PUBLIC])
        .host("inner.org", &[PRIVATE])
        .document(at, 302, to, String::new());
    let setting = setting(redirect, &[]);
    setting.names.resolve(name).await.unwrap();
    let fetched = setting.world.fetched.lock().unwrap().clone();
    assert_eq!(fetched, [(at.to_owned(), vec![PUBLIC.parse().unwrap()])]);
}

#[tokio::test]
async fn the_same_addresses_are_reached_once_they_are_allowed() {
    let setting = setting(World::default().host("a.org", &[PRIVATE]), &["10.0.0.0/8"]);
    let route = setting.names.resolve(server_name!("a.org")).await.unwrap();
    assert_eq!(shown(&route), "a.org a.org:8448@10.0.0.7");
}

#[tokio::test]
async fn of_mixed_addresses_only_the_allowed_are_used() {
    let route = check(
        World::default()
            .host("a.org:1", &[])
            .host("a.org", &[PRIVATE, PUBLIC]),
        server_name!("a.org:1"),
    );
    assert_eq!(route.await.unwrap(), "a.org:1 a.org:1@198.41.0.4");
}

#[tokio::test]
async fn a_name_that_is_bound_anew_is_checked_anew() {
    let name = server_name!("a.org:1");
    let setting = setting(World::default().host("a.org", &[PUBLIC]), &[]);
    let first = setting.names.resolve(name).await.unwrap();
    setting.world.move_host("a.org", &[PRIVATE]);
    // While the route is remembered, connections go to the checked address, whatever the name says now.
    assert_eq!(setting.names.resolve(name).await.unwrap(), first);
    setting.clock.advance(ROUTE_TTL);
    assert_eq!(
        setting.names.resolve(name).await,
        Err(ResolveError::Refused)
    );
}

#[tokio::test]
async fn a_delegation_is_remembered_as_long_as_it_says() {
    let body = "{\"m.server\":\"b.org:5\"}".to_owned();
    let header = Some((header::CACHE_CONTROL.as_str(), "max-age=3600".to_owned()));
    let world = World::default()
        .host("a.org", &[PUBLIC])
        .host("b.org", &[OTHER])
        .document("a.org:443/.well-known/matrix/server", 200, header, body);
    let setting = setting(world, &[]);
    let fetches = || setting.world.fetched.lock().unwrap().len();
    for (minutes, expected) in [(0, 1), (30, 1), (29, 1), (10, 2)] {
        setting.clock.advance(Duration::from_secs(60 * minutes));
        setting.names.resolve(server_name!("a.org")).await.unwrap();
        assert_eq!(fetches(), expected);
    }
}
