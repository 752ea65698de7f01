//! Several targets: each its own labels, credentials, limits and times; none delays another, and
//! each can be asked for alone.

use std::time::{Duration, Instant};

use envoy_exporter::config::{Config, Overrides};

use crate::support::fake_envoy::{Answer, FakeEnvoy};
use crate::support::program::Program;
use crate::support::prom;
use crate::support::tls::Folder;

const SERIES: &str = "envoy_cluster_upstream_cx_total";

fn labels(target: &str) -> String {
    format!("envoy_cluster_name=\"a\",target=\"{target}\"")
}

#[tokio::test]
async fn one_that_stalls_delays_no_other() {
    let (good, stalled) = tokio::join!(
        FakeEnvoy::start(Answer::Stats(1)),
        FakeEnvoy::start(Answer::Stall(Vec::new()))
    );
    let folder = Folder::new();
    let config = format!(
        "poll: {{interval: 50ms, timeout: 30s}}\ntargets:\n- {{name: stalled, admin_address: '{}'}}\n- {{name: good, admin_address: '{}'}}\n",
        stalled.address, good.address
    );
    let program = Program::start(&folder.write("config.yaml", &config), &[]);
    let start = Instant::now();
    program.wait_for(SERIES, &labels("good"), Some("1")).await;
    good.answer(Answer::Stats(2));
    program.wait_for(SERIES, &labels("good"), Some("2")).await;
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "the other one has 30 s"
    );
    assert_eq!(
        program
            .value("envoy_up", "target=\"stalled\"")
            .await
            .as_deref(),
        Some("0")
    );
    assert_eq!(
        program
            .value("envoy_up", "target=\"good\"")
            .await
            .as_deref(),
        Some("1")
    );
}

#[tokio::test]
async fn a_probe_answers_with_one_target() {
    let (one, two) = tokio::join!(
        FakeEnvoy::start(Answer::Stats(1)),
        FakeEnvoy::start(Answer::Stats(2))
    );
    let folder = Folder::new();
    let config = format!(
        "poll: {{interval: 50ms}}\ntargets:\n- {{name: one, admin_address: '{}'}}\n- {{name: 'number two', admin_address: '{}'}}\n",
        one.address, two.address
    );
    let program = Program::start(&folder.write("config.yaml", &config), &[]);
    program.wait_for(SERIES, &labels("one"), Some("1")).await;
    program
        .wait_for(SERIES, &labels("number two"), Some("2"))
        .await;
    for (path, name, value) in [
        ("/probe?target=one", "one", "1"),
        ("/probe?target=number+two", "number two", "2"),
    ] {
        let families = prom::read(&program.text(path).await);
        let plain = labels(name).replace('"', "");
        assert_eq!(families[SERIES].value(SERIES, &plain), Some(value));
        assert!(families.contains_key("envoy_up"));
        assert!(families.contains_key("envoy_exporter_polls_total"));
        assert!(
            !families.contains_key("process_open_fds"),
            "that is not the target's"
        );
        for (series, labels) in families.values().flat_map(|family| family.samples.keys()) {
            assert_eq!(labels["target"], name, "{series}");
        }
    }
    for (path, status, body) in [
        (
            "/probe",
            400,
            "the parameter target is missing: /probe?target=NAME\n",
        ),
        (
            "/probe?name[]=x",
            400,
            "the parameter target is missing: /probe?target=NAME\n",
        ),
        (
            "/probe?target=one&target=one",
            400,
            "the parameter target is there twice\n",
        ),
        (
            "/probe?target=",
            404,
            "no target of this name is configured\n",
        ),
        (
            "/probe?target=three",
            404,
            "no target of this name is configured\n",
        ),
    ] {
        program.ask("GET", path).await.check(path, status, body);
    }
    // An address chooses nothing.
    let asked = format!("/probe?target={}", one.address);
    assert_eq!(program.ask("GET", &asked).await.status, 404);
    let head = program.ask("HEAD", "/probe?target=one").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(program.ask("POST", "/probe?target=one").await.status, 405);
    let selected = program.text("/probe?target=one&name[]=envoy_up").await;
    assert_eq!(prom::read(&selected).len(), 1, "{selected}");
}

#[tokio::test]
async fn a_scrape_that_waits_is_answered_before_its_reader_gives_up() {
    let (good, stalled) = tokio::join!(
        FakeEnvoy::start(Answer::Stats(1)),
        FakeEnvoy::start(Answer::Stats(2))
    );
    let folder = Folder::new();
    let config = format!(
        "poll: {{interval: 0s, timeout: 30s}}\ntargets:\n- {{name: good, admin_address: '{}'}}\n- {{name: stalled, admin_address: '{}'}}\n",
        good.address, stalled.address
    );
    let program = Program::start(&folder.write("config.yaml", &config), &[]);
    program
        .wait_for(SERIES, &labels("stalled"), Some("2"))
        .await;
    assert_eq!(
        program
            .value("envoy_up", "target=\"stalled\"")
            .await
            .as_deref(),
        Some("1")
    );
    stalled.answer(Answer::Stall(Vec::new()));
    good.answer(Answer::Stats(3));
    for (timeout, least, most) in [("1", 400, 900), ("0.2", 50, 190), ("0.8", 250, 700)] {
        let start = Instant::now();
        let mut client = crate::support::client::Client::connect(&program.address).await;
        let head = format!(
            "GET /metrics HTTP/1.1\r\nhost: x\r\nx-prometheus-scrape-timeout-seconds: {timeout}\r\n\r\n"
        );
        client.send(head).await;
        let answer = client.answer("GET").await;
        let took = start.elapsed().as_millis();
        assert!(took >= least, "{timeout}: {took} ms");
        assert!(took < most + 400, "{timeout}: {took} ms");
        let families = prom::read(std::str::from_utf8(&answer.body).unwrap());
        let value = |name: &str, labels: &str| {
            families[name]
                .value(name, &labels.replace('"', ""))
                .map(str::to_owned)
        };
        assert_eq!(
            value("envoy_up", "target=stalled").as_deref(),
            Some("0"),
            "its poll is not over"
        );
        assert_eq!(
            value(SERIES, &labels("stalled")).as_deref(),
            Some("2"),
            "what it last said is fresh"
        );
        assert_eq!(value("envoy_up", "target=good").as_deref(), Some("1"));
        assert_eq!(value(SERIES, &labels("good")).as_deref(), Some("3"));
    }
    // A probe of the good one waits for nobody else.
    let start = Instant::now();
    program.text("/probe?target=good").await;
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn each_target_has_its_own_credentials_limits_and_times() {
    let (basic, bearer) = tokio::join!(
        FakeEnvoy::start(Answer::Stats(1)),
        FakeEnvoy::start(Answer::Stats(2))
    );
    let folder = Folder::new();
    folder.write("password", "violet\n");
    let config = format!(
        "poll: {{interval: 50ms}}
collectors: {{certificates: false, server_info: false}}
targets:
- name: basic
  admin_address: '{}'
  basic_auth: {{username: amy, password_file: password}}
  headers: {{X-Tenant: blue, Host: envoy.example}}
  limits: {{label_value_bytes: 4}}
- name: bearer
  admin_address: '{}'
  authorization: {{credentials: s3same}}
  poll: {{used_only: true, filter: cluster, interval: 75ms}}
",
        basic.address, bearer.address
    );
    let program = Program::start(&folder.write("config.yaml", &config), &[]);
    program.wait_for(SERIES, &labels("bearer"), Some("2")).await;
    let dropped = "reason=\"limit\",target=\"basic\"";
    program
        .wait_for("envoy_exporter_dropped_series", dropped, Some("1"))
        .await;
    let head = basic.last_head();
    assert!(
        head.contains("authorization: Basic YW15OnZpb2xldA==\r\n"),
        "{head}"
    );
    assert!(head.contains("x-tenant: blue\r\n"), "{head}");
    assert!(head.contains("host: envoy.example\r\n"), "{head}");
    let head = bearer.last_head();
    assert!(head.contains("authorization: Bearer s3same\r\n"), "{head}");
    assert!(
        head.contains("usedonly") && head.contains("filter=cluster"),
        "{head}"
    );
    // A password that was rotated is used with the next poll, without a reload.
    folder.write("password", "amber");
    let start = Instant::now();
    while !basic
        .last_head()
        .contains("authorization: Basic YW15OmFtYmVy\r\n")
    {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{}",
            basic.last_head()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // While there is none, the last one is, and that is told once.
    std::fs::remove_file(folder.0.join("password")).unwrap();
    program.wait_for_log("new credentials cannot be used");
    let polls = "envoy_exporter_polls_total";
    let of = "outcome=\"success\",target=\"basic\"";
    let before: u64 = program.value(polls, of).await.unwrap().parse().unwrap();
    let start = Instant::now();
    while program
        .value(polls, of)
        .await
        .unwrap()
        .parse::<u64>()
        .unwrap()
        < before + 3
    {
        assert!(start.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let log = program.log();
    assert_eq!(
        log.matches("new credentials cannot be used").count(),
        1,
        "{log}"
    );
    for secret in ["violet", "amber", "YW15", "s3same", "blue"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let folder = Folder::new();
    let text = "targets:
- name: a
  admin_address: http://127.0.0.1:1
  basic_auth: {username: amy, password: hunter2}
  headers: {X-Key: hunter2}
- name: b
  admin_address: http://127.0.0.1:1
  authorization: {type: Token, credentials: hunter2}
";
    let overrides = Overrides {
        config_file: Some(folder.write("good.yaml", text)),
        ..Overrides::default()
    };
    let config = Config::load(&overrides).unwrap();
    let shown = format!("{config:?}");
    assert!(
        shown.contains("amy") && !shown.contains("hunter2"),
        "{shown}"
    );
    for wrong in [
        "basic_auth: hunter2",
        "basic_auth: {username: [hunter2]}",
        "basic_auth: {username: a, password: {hunter2: x}}",
        "authorization: [hunter2]",
        "headers: hunter2",
        "headers: {x: [hunter2]}",
        "headers: {x: \"hunter2\\n\"}",
        "authorization: {credentials: \"hunter2\\n\"}",
    ] {
        let text = format!("targets:\n- admin_address: http://127.0.0.1:1\n  {wrong}\n");
        let overrides = Overrides {
            config_file: Some(folder.write("bad.yaml", &text)),
            ..Overrides::default()
        };
        let error = Config::load(&overrides).expect_err(wrong).to_string();
        let unknown_key = wrong.contains("{hunter2:");
        assert!(
            unknown_key || !error.contains("hunter2"),
            "{wrong}: {error}"
        );
    }
}
