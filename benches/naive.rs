//! What one would write in an afternoon: the whole answer as a JSON document, every name through a
//! regex once, a `GaugeVec` for each family of the crate `prometheus`, its text encoder. `make bench`
//! measures it beside the exporter. Not for use: it knows no types, and no names with dots.
//!
//!     naive ADMIN-URL LISTEN-ADDRESS
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "what is measured is a program that takes no care"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use prometheus::{Encoder as _, GaugeVec, Opts, Registry, TextEncoder};
use regex::Regex;
use serde_json::Value;
use warp::Filter as _;

struct State {
    client: reqwest::Client,
    url: String,
    cluster: Regex,
    registry: Registry,
    families: BTreeMap<String, GaugeVec>,
    names: BTreeMap<String, (String, String)>,
}

impl State {
    async fn scrape(&mut self) -> Vec<u8> {
        let answer = self.client.get(&self.url).send().await.unwrap();
        let body = answer.bytes().await.unwrap();
        let document: Value = serde_json::from_slice(&body).unwrap();
        for stat in document["stats"].as_array().unwrap() {
            let (Some(name), Some(value)) = (stat["name"].as_str(), stat["value"].as_f64()) else {
                continue;
            };
            let (family, cluster) = self.names.entry(name.to_owned()).or_insert_with(|| {
                let found = self.cluster.captures(name);
                let (family, cluster) = found.map_or((name.to_owned(), String::new()), |found| {
                    (format!("cluster.{}", &found[2]), found[1].to_owned())
                });
                let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
                let family: String = family.chars().map(legal).collect();
                (format!("envoy_{family}"), cluster)
            });
            if !self.families.contains_key(family.as_str()) {
                let options = Opts::new(family.clone(), "An Envoy stat");
                let gauge = GaugeVec::new(options, &["envoy_cluster_name"]).unwrap();
                self.registry.register(Box::new(gauge.clone())).unwrap();
                self.families.insert(family.clone(), gauge);
            }
            self.families[family.as_str()]
                .with_label_values(&[cluster.as_str()])
                .set(value);
        }
        let mut text = Vec::new();
        let encoder = TextEncoder::new();
        encoder.encode(&self.registry.gather(), &mut text).unwrap();
        text
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let admin = arguments.next().unwrap();
    let listen: SocketAddr = arguments.next().unwrap().parse().unwrap();
    let state = Arc::new(tokio::sync::Mutex::new(State {
        client: reqwest::Client::builder()
            .tls_certs_only([])
            .no_proxy()
            .build()
            .unwrap(),
        url: format!("{admin}/stats?format=json"),
        cluster: Regex::new(
            r"^cluster\.(.*)\.((?:circuit_breakers|health_check|ssl|http[123])\..*|[^.]*)$",
        )
        .unwrap(),
        registry: Registry::new(),
        families: BTreeMap::new(),
        names: BTreeMap::new(),
    }));
    let metrics = warp::path("metrics").then(move || {
        let state = Arc::clone(&state);
        async move { state.lock().await.scrape().await }
    });
    let healthy = warp::path!("-" / "healthy").map(|| "healthy\n");
    let service = warp::service(healthy.or(metrics));
    let listener = tokio::net::TcpListener::bind(listen).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper_util::service::TowerToHyperService::new(service.clone());
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}
