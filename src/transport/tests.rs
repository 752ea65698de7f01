use super::*;

#[test]
fn addresses() {
    for (text, want) in [
        ("http://127.0.0.1:9901", Ok("http://127.0.0.1:9901")),
        ("http://127.0.0.1:9901/", Ok("http://127.0.0.1:9901")),
        ("https://envoy.local", Ok("https://envoy.local")),
        (
            "unix:///run/envoy/admin.sock",
            Ok("unix:///run/envoy/admin.sock"),
        ),
        ("file:///tmp/capture", Ok("file:///tmp/capture")),
        ("", Err("it starts with none of")),
        ("127.0.0.1:9901", Err("it starts with none of")),
        ("ftp://x", Err("it starts with none of")),
        ("demo", Err("it starts with none of")),
        ("http://", Err("the URL is not valid")),
        ("http://x:99999", Err("the URL is not valid")),
        ("http://u:p@x", Err("a user or password")),
        ("http://x/stats", Err("only scheme, host and port")),
        ("http://x?a=b", Err("only scheme, host and port")),
        ("unix://run/x.sock", Err("the path after the scheme")),
        ("file://capture", Err("the path after the scheme")),
    ] {
        let got = text.parse::<AdminAddress>();
        match (got, want) {
            (Ok(address), Ok(want)) => assert_eq!(address.to_string(), want, "{text}"),
            (Err(error), Err(want)) => {
                let error = error.to_string();
                assert!(
                    error.starts_with(&format!("'{text}' is no admin address: {want}")),
                    "{error}"
                );
            }
            (got, want) => panic!("{text}: {got:?}, wanted {want:?}"),
        }
    }
}

#[test]
fn queries() {
    let plain = Selection::default();
    let both = Selection {
        clusters: None,
        used_only: true,
        filter: Some("^cluster\\.(a|b)&x=y#".to_owned()),
    };
    for (query, selection, want) in [
        (Query::Counters, &plain, "/stats?format=json&type=Counters"),
        (Query::Gauges, &plain, "/stats?format=json&type=Gauges"),
        (
            Query::TextReadouts,
            &plain,
            "/stats?format=json&type=TextReadouts",
        ),
        (
            Query::Histograms,
            &plain,
            "/stats?format=json&type=Histograms&histogram_buckets=detailed",
        ),
        (
            Query::HistogramBounds,
            &plain,
            "/stats?format=json&type=Histograms&histogram_buckets=cumulative",
        ),
        (Query::Clusters, &both, "/clusters?format=json"),
        (Query::Listeners, &both, "/listeners?format=json"),
        (Query::Certs, &both, "/certs"),
        (Query::ServerInfo, &both, "/server_info"),
        (
            Query::Counters,
            &both,
            "/stats?format=json&type=Counters&usedonly&filter=%5Ecluster%5C.%28a%7Cb%29%26x%3Dy%23",
        ),
    ] {
        let mut url: reqwest::Url = "http://x/".parse().unwrap();
        query.set_on(&mut url, selection);
        let got = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        assert_eq!(got.trim_end_matches('?'), want);
    }
}
