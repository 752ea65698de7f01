//! The fuzz targets over their corpus, and over what a fixed number of small changes makes of it:
//! the same inputs with every run, so that a failure is there again. libFuzzer looks further, for as
//! long as one lets it: `make fuzz TARGET=decode SECONDS=600`.

use std::fs;
use std::path::Path;

use crate::support::prom;

#[path = "../fuzz/targets.rs"]
mod targets;

/// Changed inputs for each input of a corpus.
const CHANGES: u64 = 3;

/// A linear congruential generator, as Knuth has it for MMIX: no more is needed here.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end.max(1)
    }
}

/// One to four changes: a byte set, bytes taken out, repeated, or swapped for those of another input.
fn changed(data: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut data = data.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(data.len() + 1);
        let end = (at + random.below(16)).min(data.len());
        match random.below(4) {
            0 => {
                let odd = [0, 9, 10, 34, 44, 45, 46, 48, 57, 92, 93, 123, 125, 128, 255];
                data.splice(at..end.min(at + 1), [odd[random.below(odd.len())]]);
            }
            1 => drop(data.drain(at..end)),
            2 => {
                let again = data[at..end].to_vec();
                data.splice(at..at, again);
            }
            _ => {
                let start = random.below(other.len());
                let stop = (start + random.below(32)).min(other.len());
                data.splice(at..end, other[start..stop].iter().copied());
            }
        }
    }
    data
}

/// Runs a target over its corpus and the changes of it.
#[track_caller]
fn check(name: &str) {
    let (_, target) = targets::ALL.iter().find(|(have, _)| *have == name).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut paths: Vec<_> = fs::read_dir(folder.join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let inputs: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(inputs.len() > 5, "{name}");
    let mut random = Random(1);
    for (path, input) in paths.iter().zip(&inputs) {
        let run = |data: &[u8]| {
            let shown = String::from_utf8_lossy(data);
            let ended = std::panic::catch_unwind(|| target(data));
            assert!(ended.is_ok(), "{}:\n{shown}", path.display());
        };
        run(input);
        for _ in 0..CHANGES {
            let other = &inputs[random.below(inputs.len())];
            run(&changed(input, other, &mut random));
        }
    }
}

#[test]
fn every_target_is_run() {
    let run = [
        "accept",
        "decode",
        "foreign",
        "histogram",
        "mapping",
        "names",
        "relabel",
        "sockets",
        "web_config",
    ];
    let mut all = targets::ALL.map(|(name, _)| name);
    all.sort_unstable();
    assert_eq!(all, run);
}

#[test]
fn accept() {
    check("accept");
}

#[test]
fn decode() {
    check("decode");
}

#[test]
fn foreign() {
    check("foreign");
}

#[test]
fn histogram() {
    check("histogram");
}

#[test]
fn mapping() {
    check("mapping");
}

#[test]
fn names() {
    check("names");
}

#[test]
fn relabel() {
    check("relabel");
}

#[test]
fn sockets() {
    check("sockets");
}

#[test]
fn web_config() {
    check("web_config");
}
