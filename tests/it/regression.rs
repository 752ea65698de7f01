//! Each test guards what users reported of Envoy's own endpoint or of other exporters, with the
//! report's address over it.

use envoy_exporter::config::Overrides;

use crate::support::{poll_dir, prom, testdata, text};

async fn families(case: &str) -> std::collections::BTreeMap<String, prom::Family> {
    let polled = poll_dir(&testdata(&format!("golden/{case}")), &Overrides::default()).await;
    prom::read(&text(polled.unwrap()))
}

/// Names with dots are cut at the first one: <https://github.com/envoyproxy/envoy/issues/5239>.
#[tokio::test]
async fn a_cluster_name_with_dots_is_one_label() {
    let families = families("dotted_names").await;
    let value = families["envoy_cluster_upstream_rq"].value(
        "envoy_cluster_upstream_rq",
        "envoy_cluster_name=outbound|80||svc.ns.svc.cluster.local,envoy_response_code=503",
    );
    assert_eq!(value, Some("5"));
    assert!(
        !families
            .keys()
            .any(|name| name.contains("svc_cluster_local"))
    );
}

/// Duplicate series make a scrape fail: <https://github.com/envoyproxy/gateway/issues/9576>.
/// The reader refuses a series that comes twice.
#[tokio::test]
async fn no_series_comes_twice() {
    let families = families("same_series_twice").await;
    let zone = &families["envoy_cluster_zone_x_1_y_upstream_rq"];
    assert_eq!(zone.samples.values().collect::<Vec<_>>(), ["1"]);
    assert_eq!(families["envoy_odd_name"].kind, "counter");
}

/// A second TYPE line for a family: <https://github.com/envoyproxy/envoy/issues/27173>. The reader
/// refuses one.
#[tokio::test]
async fn a_family_has_one_type() {
    assert_eq!(
        families("same_series_twice").await["envoy_hist"].kind,
        "histogram"
    );
}

/// There is no HELP: <https://github.com/envoyproxy/envoy/issues/23888>.
#[tokio::test]
async fn every_family_has_help() {
    for (name, family) in families("../demo").await {
        assert!(!family.help.is_empty(), "{name}");
        assert!(!family.help.starts_with("No entry"), "{name}");
    }
}
