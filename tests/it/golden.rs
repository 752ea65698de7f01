//! Each folder of `testdata/golden` is a case: the files of a capture, perhaps `mapping.yaml` or
//! `config.yaml`, and `expected.prom` with `expected.om`. `UPDATE_GOLDEN=1` writes what comes out; a difference
//! needs its reason in the commit.

use std::fs;

use envoy_exporter::config::Overrides;
use envoy_exporter::exposition::Shape;
use envoy_exporter::negotiate::Format;

use crate::support::{exposed, openmetrics, poll_dir, prom, snapshots, testdata, text, wire};

#[tokio::test]
async fn every_case_gives_what_is_expected() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut cases = 0;
    for entry in fs::read_dir(testdata("golden")).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.is_dir() {
            continue;
        }
        cases += 1;
        let file = |name: &str| Some(dir.join(name)).filter(|path| path.exists());
        let mapping = file("mapping.yaml").map(|path| path.display().to_string());
        let overrides = Overrides {
            config_file: file("config.yaml"),
            mapping: mapping.into_iter().collect(),
            ..Overrides::default()
        };
        let polled = poll_dir(&dir, &overrides).await;
        let polled = polled.unwrap_or_else(|error| panic!("{}: {error:#?}", dir.display()));
        let snapshots = snapshots(polled);
        let written = |format| exposed(&snapshots, &Shape::new(format));
        let texts = [("prom", Format::Text), ("om", Format::OpenMetrics)].map(|(end, format)| {
            let got = String::from_utf8(written(format)).unwrap();
            let expected = dir.join(format!("expected.{end}"));
            if update {
                fs::write(&expected, &got).unwrap();
            }
            let want = fs::read_to_string(&expected).unwrap_or_default();
            assert_eq!(got, want, "{}", dir.display());
            got
        });
        if dir.ends_with("relabel") {
            prom::read_parts(&texts[0]);
        } else {
            prom::read(&texts[0]);
        }
        let samples = prom::samples_of_lines(&texts[0]);
        assert_eq!(openmetrics::samples(&openmetrics::read(&texts[1])), samples);
        assert_eq!(
            wire::samples(&wire::read(&written(Format::Protobuf))),
            samples
        );
    }
    assert!(cases >= 5, "{cases} cases");
}

#[tokio::test]
async fn the_same_answers_give_the_same_bytes() {
    let dir = testdata("demo");
    let first = text(poll_dir(&dir, &Overrides::default()).await.unwrap());
    let second = text(poll_dir(&dir, &Overrides::default()).await.unwrap());
    assert!(first == second);
    prom::read(&first);
}
