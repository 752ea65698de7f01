//! Files with mistakes: every message in full, with its place.

use std::fmt::Write as _;
use std::fs;

use envoy_exporter::config::{Config, Overrides};
use envoy_exporter::histogram::native::Form;

use crate::support::testdata;

#[test]
fn the_form_of_histograms() {
    let file = testdata("config").join("histograms.yaml");
    for (config_file, flag, want) in [
        (None, None, Form::Classic),
        (None, Some(Form::Both), Form::Both),
        (Some(&file), None, Form::Native),
        (Some(&file), Some(Form::Both), Form::Both),
    ] {
        let overrides = Overrides {
            config_file: config_file.cloned(),
            histograms: flag,
            ..Overrides::default()
        };
        let config = Config::load(&overrides).unwrap();
        assert_eq!(config.histograms, want, "{config_file:?} {flag:?}");
    }
    for (text, want) in [
        ("classic", Some(Form::Classic)),
        ("native", Some(Form::Native)),
        ("both", Some(Form::Both)),
        ("Both", None),
    ] {
        assert_eq!(text.parse().ok(), want, "{text}");
    }
}

#[test]
fn what_pushing_is_set_to() {
    let file = testdata("config").join("push.yaml");
    let overrides = Overrides {
        config_file: Some(file),
        ..Overrides::default()
    };
    let push = Config::load(&overrides).unwrap().push;
    let gateway = push.pushgateway.unwrap();
    let url = gateway.endpoint.url.as_str();
    assert_eq!(url, "http://push:9091/p/metrics/job/envoy/instance/a%20b");
    assert!(gateway.delete_on_shutdown);
    let remote = push.remote_write.unwrap();
    assert_eq!(remote.pace.batch.samples, 2000);
    assert_eq!(remote.pace.concurrency, 2);
    assert_eq!(remote.queue.bytes, 1024 * 1024);
    let shown = format!("{remote:?} {gateway:?}");
    assert!(
        shown.contains("<secret>") && !shown.contains("hunter2"),
        "{shown}"
    );
}

/// Each `*.bad.yaml` of `testdata/config` is a configuration file, each `*.bad.table.yaml` a mapping
/// table; `messages.txt` has what is said of each. `UPDATE_GOLDEN=1` writes it.
#[test]
fn every_mistake_is_told_with_its_place() {
    let folder = testdata("config");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let shown = path.display().to_string();
            shown.ends_with(".bad.yaml") || shown.ends_with(".bad.table.yaml")
        })
        .collect();
    files.sort();
    assert!(files.len() >= 20, "{} files", files.len());
    let mut got = String::new();
    for file in files {
        let shown = file.display().to_string();
        let is_table = shown.ends_with(".bad.table.yaml");
        let overrides = Overrides {
            config_file: (!is_table).then(|| file.clone()),
            mapping: is_table.then(|| shown.clone()).into_iter().collect(),
            ..Overrides::default()
        };
        let error = Config::load(&overrides).expect_err(&shown).to_string();
        let error = error.replace(&format!("{}/", folder.display()), "");
        writeln!(got, "{error}\n").unwrap();
    }
    let expected = folder.join("messages.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&expected, &got).unwrap();
    }
    let want = fs::read_to_string(&expected).unwrap_or_default();
    assert_eq!(got, want);
}
