//! Reloads: what changes does so at once and whole, what does not goes on, and what is wrong
//! changes nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::fake_envoy::{Answer, FakeEnvoy};
use crate::support::program::Program;
use crate::support::tls::Folder;

const SERIES: &str = "envoy_cluster_upstream_cx_total";

/// A configuration of these targets, each with a name, an address and a label `zone`.
fn config(targets: &[(&str, &str, &str)], rest: &str) -> String {
    let mut text = String::from("poll: {interval: 50ms, timeout: 15s}\n");
    text += rest;
    text += "\ntargets:\n";
    for (name, address, zone) in targets {
        text += &format!(
            "  - {{name: {name}, admin_address: '{address}', labels: {{zone: {zone}}}}}\n"
        );
    }
    text
}

fn labels(target: &str, zone: &str) -> String {
    format!("envoy_cluster_name=\"a\",target=\"{target}\",zone=\"{zone}\"")
}

async fn reload(program: &Program) {
    let answer = program.ask("POST", "/-/reload").await;
    answer.check("a reload", 200, "reloaded\n");
}

async fn own(program: &Program, name: &str) -> f64 {
    let value = program.value(name, "").await;
    value.expect(name).parse().unwrap()
}

/// How many pollers a target has had, each of which tells of its first success.
fn pollers(program: &Program, target: &str) -> usize {
    let log = program.log();
    let of = format!("target_name={target} ");
    let polled = log
        .lines()
        .filter(|line| line.contains("polled the target"));
    polled.filter(|line| line.contains(&of)).count()
}

async fn reloads(program: &Program, outcome: &str) -> String {
    let name = "envoy_exporter_config_reloads_total";
    let value = program.value(name, &format!("outcome=\"{outcome}\"")).await;
    value.expect(name)
}

#[tokio::test]
async fn what_changed_is_there_when_the_answer_is() {
    let (kept, changed) = tokio::join!(
        FakeEnvoy::start(Answer::Stats(1)),
        FakeEnvoy::start(Answer::Stats(2))
    );
    let removed = FakeEnvoy::start(Answer::Stats(3)).await;
    let added = FakeEnvoy::start(Answer::Stats(4)).await;
    let folder = Folder::new();
    let before = [
        ("kept", kept.address.as_str(), "one"),
        ("changed", &changed.address, "one"),
        ("removed", &removed.address, "one"),
    ];
    let path = folder.write("config.yaml", &config(&before, ""));
    let program = Program::start(&path, &["--web.enable-lifecycle"]);
    for (target, value) in [("kept", "1"), ("changed", "2"), ("removed", "3")] {
        program
            .wait_for(SERIES, &labels(target, "one"), Some(value))
            .await;
    }
    let loaded = own(
        &program,
        "envoy_exporter_config_last_reload_success_timestamp_seconds",
    )
    .await;
    let metrics = program.metrics().await;
    let hash = |metrics: &std::collections::BTreeMap<String, crate::support::prom::Family>| {
        let samples = &metrics["envoy_exporter_config_info"].samples;
        assert_eq!(samples.len(), 1, "one configuration is in use");
        samples.keys().next().unwrap().1["sha256"].clone()
    };
    let polls = |target: &'static str| {
        let labels = format!("outcome=\"success\",target=\"{target}\"");
        let program = &program;
        async move {
            let value = program.value("envoy_exporter_polls_total", &labels).await;
            value.map(|value| value.parse::<u64>().unwrap())
        }
    };
    let (kept_polls, changed_polls) = (
        polls("kept").await.unwrap(),
        polls("changed").await.unwrap(),
    );

    let after = [
        ("changed", changed.address.as_str(), "two"),
        ("added", &added.address, "one"),
        ("kept", &kept.address, "one"),
    ];
    folder.write("config.yaml", &config(&after, ""));
    reload(&program).await;
    let text = program.text("/metrics").await;
    for (target, zone, value) in [
        ("kept", "one", 1),
        ("changed", "two", 2),
        ("added", "one", 4),
    ] {
        let line = format!("{SERIES}{{{}}} {value}\n", labels(target, zone));
        assert!(text.contains(&line), "{line}{text}");
    }
    assert_eq!(text.matches(&format!("{SERIES}{{")).count(), 3, "{text}");
    assert!(!text.contains("removed"), "nothing is left of it: {text}");
    assert_ne!(hash(&program.metrics().await), hash(&metrics));
    assert!(
        own(
            &program,
            "envoy_exporter_config_last_reload_success_timestamp_seconds"
        )
        .await
            > loaded
    );
    assert_eq!(reloads(&program, "success").await, "1");
    assert!(polls("kept").await.unwrap() >= kept_polls, "counters go on");
    assert!(
        polls("changed").await.unwrap() > changed_polls,
        "counters go on"
    );
    assert_eq!(pollers(&program, "kept"), 1, "its poller goes on");
    assert_eq!(pollers(&program, "changed"), 2);
    assert_eq!(changed.seen.most_under_way.load(Ordering::SeqCst), 1);
    let asked = removed.seen.requests.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(
        removed.seen.requests.load(Ordering::SeqCst),
        asked,
        "it is polled no more"
    );
}

#[tokio::test]
async fn every_part_of_the_configuration_is_read_again() {
    let envoy = FakeEnvoy::start(Answer::Stats(7)).await;
    let folder = Folder::new();
    let target = [("t", envoy.address.as_str(), "z")];
    folder.write("table.yaml", "{}");
    let path = folder.write("config.yaml", &config(&target, ""));
    let program = Program::start(&path, &["--web.enable-lifecycle"]);
    program.wait_for(SERIES, &labels("t", "z"), Some("7")).await;
    for (what, rest, want) in [
        (
            "relabeling",
            "metric_relabel_configs: [{target_label: extra, replacement: x}]",
            r#"envoy_cluster_upstream_cx_total{envoy_cluster_name="a",extra="x",target="t",zone="z"} 7"#,
        ),
        (
            "the profile",
            "mapping: [standard]",
            r#"envoy_cluster_upstream_cx_total{cluster="a",target="t",zone="z"} 7"#,
        ),
        (
            "limits",
            "limits: {label_value_bytes: 3}\nmetric_relabel_configs: [{target_label: extra, replacement: long}]",
            r#"envoy_exporter_dropped_series{reason="limit",target="t"} 1"#,
        ),
        (
            "a table",
            "mapping: [native, table.yaml]",
            r#"envoy_cluster_upstream_cx_total{envoy_cluster_name="a",target="t",zone="z"} 7"#,
        ),
    ] {
        folder.write("config.yaml", &config(&target, rest));
        reload(&program).await;
        let text = program.text("/metrics").await;
        assert!(text.lines().any(|line| line == want), "{what}: {text}");
    }
    // What a table says changes with the table alone.
    folder.write(
        "table.yaml",
        "rules: [{stat: cluster.upstream_cx_total, help: Said by the table.}]",
    );
    reload(&program).await;
    let text = program.text("/metrics").await;
    assert!(
        text.contains("upstream_cx_total Said by the table."),
        "{text}"
    );
}

#[tokio::test]
async fn a_mistake_changes_nothing_and_is_told() {
    let envoy = FakeEnvoy::start(Answer::Stats(5)).await;
    let folder = Folder::new();
    let target = [("t", envoy.address.as_str(), "z")];
    let good = config(&target, "mapping: [native, table.yaml]");
    let table = folder.write("table.yaml", "{}");
    let web = folder.write("web.yaml", "{}");
    let path = folder.write("config.yaml", &good);
    let flags = [
        "--web.enable-lifecycle",
        "--web.config.file",
        web.to_str().unwrap(),
    ];
    let program = Program::start(&path, &flags);
    program.wait_for(SERIES, &labels("t", "z"), Some("5")).await;
    let loaded = own(
        &program,
        "envoy_exporter_config_last_reload_success_timestamp_seconds",
    )
    .await;
    let info = program.metrics().await["envoy_exporter_config_info"]
        .samples
        .clone();
    let cases = [
        (
            "config.yaml",
            Some("poll: {intervall: 1s}\nlimits: {body: x}"),
            &[
                "config.yaml:1:8: no such key 'intervall'",
                "config.yaml:2:16: limits.body",
            ][..],
        ),
        ("config.yaml", Some("targets: {"), &["config.yaml:"]),
        ("config.yaml", None, &["config.yaml: No such file"]),
        ("table.yaml", Some("rules: [{}]"), &["table.yaml:1:9"]),
        ("table.yaml", None, &["table.yaml: No such file"]),
        (
            "web.yaml",
            Some("basic_auth_users: {a: b}"),
            &["web.yaml:1:23"],
        ),
        ("web.yaml", None, &["web.yaml: No such file"]),
    ];
    for (at, (name, text, wants)) in cases.into_iter().enumerate() {
        match text {
            Some(text) => drop(folder.write(name, text)),
            None => std::fs::remove_file(folder.0.join(name)).unwrap(),
        }
        let answer = program.ask("PUT", "/-/reload").await;
        let body = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 500, "{name}: {body}");
        assert!(body.starts_with("not reloaded\n"), "{body}");
        for want in wants {
            assert!(body.contains(want), "{want}: {body}");
            program.wait_for_log(want);
        }
        assert_eq!(
            own(&program, "envoy_exporter_config_last_reload_successful").await,
            0.0
        );
        assert_eq!(reloads(&program, "failure").await, (at + 1).to_string());
        assert_eq!(
            own(
                &program,
                "envoy_exporter_config_last_reload_success_timestamp_seconds"
            )
            .await,
            loaded
        );
        assert_eq!(
            program.metrics().await["envoy_exporter_config_info"].samples,
            info
        );
        assert_eq!(
            program.value(SERIES, &labels("t", "z")).await.as_deref(),
            Some("5")
        );
        folder.write("config.yaml", &good);
        std::fs::write(&table, "{}").unwrap();
        std::fs::write(&web, "{}").unwrap();
    }
    assert_eq!(pollers(&program, "t"), 1, "its poller goes on");
    assert_eq!(reloads(&program, "success").await, "0");
    reload(&program).await;
    assert_eq!(
        own(&program, "envoy_exporter_config_last_reload_successful").await,
        1.0
    );
    assert_eq!(pollers(&program, "t"), 1, "nothing changed");
}

#[tokio::test]
async fn all_mistakes_are_told_at_once() {
    let folder = Folder::new();
    let envoy = FakeEnvoy::start(Answer::Stats(1)).await;
    let path = folder.write("config.yaml", &config(&[("t", &envoy.address, "z")], ""));
    let web = folder.write("web.yaml", "{}");
    let flags = [
        "--web.enable-lifecycle",
        "--web.config.file",
        web.to_str().unwrap(),
    ];
    let program = Program::start(&path, &flags);
    folder.write("config.yaml", "a: 1\nb: 2\nmapping: [missing.yaml]");
    folder.write("web.yaml", "c: 3");
    let answer = program.ask("POST", "/-/reload").await;
    let body = String::from_utf8(answer.body).unwrap();
    for want in [
        "config.yaml:1:1",
        "config.yaml:2:1",
        "missing.yaml: No such file",
        "web.yaml:1:1",
    ] {
        assert!(body.contains(want), "{want}: {body}");
    }
}

#[tokio::test]
async fn old_data_is_served_until_the_new_is_there() {
    let (good, slow) = tokio::join!(
        FakeEnvoy::start(Answer::Stats(1)),
        FakeEnvoy::start(Answer::Stall(Vec::new()))
    );
    let folder = Folder::new();
    let before = [("good", good.address.as_str(), "old")];
    let path = folder.write("config.yaml", &config(&before, ""));
    let program = Program::start(&path, &["--web.enable-lifecycle"]);
    program
        .wait_for(SERIES, &labels("good", "old"), Some("1"))
        .await;
    let after = [
        ("good", good.address.as_str(), "new"),
        ("slow", &slow.address, "new"),
    ];
    // The slow one has a second.
    let after = config(&after, "").replace("15s", "1s");
    folder.write("config.yaml", &after);
    let reloading = async {
        reload(&program).await;
        true
    };
    let mut seen = Vec::new();
    let scraping = async {
        loop {
            let text = program.text("/metrics").await;
            let old = text.contains(&format!("{SERIES}{{{}}} 1\n", labels("good", "old")));
            let new = text.contains(&format!("{SERIES}{{{}}} 1\n", labels("good", "new")));
            assert!(old != new, "one of the two, and never a gap: {text}");
            seen.push(new);
            if new {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::join!(reloading, scraping);
    assert!(
        seen.len() > 10,
        "the slow one was waited for: {}",
        seen.len()
    );
    assert_eq!(
        good.seen.most_under_way.load(Ordering::SeqCst),
        1,
        "one request at a time"
    );
    program
        .wait_for("envoy_up", "target=\"slow\"", Some("0"))
        .await;
}

#[tokio::test]
async fn reloads_at_the_same_time_come_one_after_the_other() {
    let envoy = FakeEnvoy::start(Answer::Stats(1)).await;
    let folder = Folder::new();
    let path = folder.write("config.yaml", &config(&[("t", &envoy.address, "0")], ""));
    let program = Program::start(&path, &["--web.enable-lifecycle"]);
    program.wait_for(SERIES, &labels("t", "0"), Some("1")).await;
    let reloading = futures_util::future::join_all((0..8).map(|_| reload(&program)));
    let rewriting = async {
        for zone in 1..=8 {
            let zone = zone.to_string();
            folder.write("next", &config(&[("t", &envoy.address, &zone)], ""));
            std::fs::rename(folder.0.join("next"), &path).unwrap();
            reload(&program).await;
            let text = program.text("/metrics").await;
            assert_eq!(text.matches(&format!("{SERIES}{{")).count(), 1, "{text}");
            assert!(text.contains(&labels("t", &zone)), "{zone}: {text}");
        }
    };
    tokio::join!(reloading, rewriting);
    let count: u64 = reloads(&program, "success").await.parse().unwrap();
    assert!((8..=16).contains(&count), "{count}");
    assert_eq!(
        envoy.seen.most_under_way.load(Ordering::SeqCst),
        1,
        "one request at a time"
    );
}

#[tokio::test]
async fn a_target_that_is_polled_on_demand_is_replaced_in_a_scrape() {
    let (slow, good) = tokio::join!(
        FakeEnvoy::start(Answer::Stall(Vec::new())),
        FakeEnvoy::start(Answer::Stats(1))
    );
    let folder = Folder::new();
    let with = |address: &str| {
        format!(
            "poll: {{interval: 0s, timeout: 10s}}\ntargets: [{{name: t, admin_address: '{address}', labels: {{zone: z}}}}]"
        )
    };
    let path = folder.write("config.yaml", &with(&slow.address));
    let program = Program::start(&path, &["--web.enable-lifecycle"]);
    let scraping = program.value(SERIES, "envoy_cluster_name=\"a\",target=\"t\",zone=\"z\"");
    let reloading = async {
        while slow.seen.requests.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        folder.write("config.yaml", &with(&good.address));
        reload(&program).await;
    };
    let start = std::time::Instant::now();
    let (value, ()) = tokio::join!(scraping, reloading);
    assert_eq!(value.as_deref(), Some("1"));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "the old one is not waited for"
    );
}

#[tokio::test]
async fn changed_files_are_read_again_where_that_is_wanted() {
    let envoy = FakeEnvoy::start(Answer::Stats(1)).await;
    let folder = Folder::new();
    // As Kubernetes lays out a ConfigMap: files are links into a folder that is a link itself.
    let place = |name: &str, zone: &str| {
        std::fs::create_dir(folder.0.join(name)).unwrap();
        let text = config(
            &[("t", &envoy.address, zone)],
            "mapping: [native, table.yaml]",
        );
        folder.write(&format!("{name}/config.yaml"), &text);
        folder.write(&format!("{name}/table.yaml"), "{}");
    };
    let link = |to: &str| {
        let next = folder.0.join("..data_tmp");
        std::os::unix::fs::symlink(to, &next).unwrap();
        std::fs::rename(next, folder.0.join("..data")).unwrap();
    };
    place("..one", "one");
    place("..two", "two");
    link("..one");
    for name in ["config.yaml", "table.yaml"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), folder.0.join(name)).unwrap();
    }
    let path = folder.0.join("config.yaml");
    let program = Program::start(&path, &["--config.auto-reload-interval", "50ms"]);
    program
        .wait_for(SERIES, &labels("t", "one"), Some("1"))
        .await;
    link("..two");
    program
        .wait_for(SERIES, &labels("t", "two"), Some("1"))
        .await;
    assert_eq!(reloads(&program, "success").await, "1");
    // A table that is gone is a failure, told once; when it is back, it is taken again.
    std::fs::remove_file(folder.0.join("..two/table.yaml")).unwrap();
    let successful = "envoy_exporter_config_last_reload_successful";
    program.wait_for(successful, "", Some("0")).await;
    assert_eq!(
        program.value(SERIES, &labels("t", "two")).await.as_deref(),
        Some("1")
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        reloads(&program, "failure").await,
        "1",
        "the same mistake is no news"
    );
    folder.write("..two/table.yaml", "{}");
    program.wait_for(successful, "", Some("1")).await;
    assert_eq!(reloads(&program, "success").await, "2");
}

#[tokio::test]
async fn lifecycle_requests_need_their_flag() {
    let envoy = FakeEnvoy::start(Answer::Stats(1)).await;
    let folder = Folder::new();
    let path = folder.write("config.yaml", &config(&[("t", &envoy.address, "one")], ""));
    let program = Program::start(&path, &[]);
    for path in ["/-/reload", "/-/quit"] {
        let answer = program.ask("POST", path).await;
        answer.check(path, 403, "the lifecycle API is not enabled\n");
    }
    // A signal needs no flag.
    folder.write("config.yaml", &config(&[("t", &envoy.address, "two")], ""));
    let id = program.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-HUP", &id])
        .status();
    assert!(sent.unwrap().success());
    program
        .wait_for(SERIES, &labels("t", "two"), Some("1"))
        .await;
    assert_eq!(reloads(&program, "success").await, "1");

    let program = Program::start(&path, &["--web.enable-lifecycle"]);
    assert_eq!(program.ask("GET", "/-/quit").await.status, 405);
    let answer = program.ask("POST", "/-/quit").await;
    answer.check("quit", 200, "stopping\n");
    assert!(program.ended(), "it ends well");
}
