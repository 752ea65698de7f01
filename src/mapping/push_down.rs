//! What of Envoy's stats a poll needs, as a filter that Envoy applies itself: where tables keep some
//! stats and drop all others, the others need not be written, sent and read.
//!
//! The filter finds every stat that has a series, those that tell scope names, and some that have
//! none, which are dropped here as ever. So nothing changes but what is read and counted. It is
//! there only where that is known: for the shipped tag rules, which a test holds to it with every
//! stat of every capture. Relabeling does not take part: which stats a rule about families means
//! cannot be told from their names for certain.

use std::fmt::Write as _;

use super::Mapping;
use super::scopes::Anchor;

/// What the exporter itself reads of a target.
const OWN: &str = "^server\\.";

/// A filter that is longer might not fit into the head of a request.
const LONGEST: usize = 16 * 1024;

impl Mapping {
    /// The regex to ask Envoy with; nothing where all stats are needed, or where it cannot be known
    /// which are.
    pub fn wanted(&self) -> Option<String> {
        let is_known = self.uniform && self.tags.is_none() && self.explicit.is_empty();
        if self.keep.is_empty() || !is_known {
            return None;
        }
        let mut regex = OWN.to_owned();
        for Anchor { root, last } in self.scopes.anchors() {
            let (root, last) = (regex::escape(root), regex::escape(last));
            // Writing to a String cannot fail.
            let _ = write!(regex, "|^{root}\\..*\\.{last}$");
        }
        for pattern in self.keep.iter().chain(self.rules.brought_back()) {
            regex.push('|');
            pattern.push_name_regex(&mut regex);
        }
        (regex.len() <= LONGEST).then_some(regex)
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoints::Endpoints;
    use super::super::scopes::Scopes;
    use super::super::{FamilyBounds, Source, Verdict};
    use super::*;
    use regex::Regex;

    fn mapping(profiles: &[&str]) -> Mapping {
        let sources: Vec<_> = profiles
            .iter()
            .map(|profile| Source::Profile((*profile).to_owned()))
            .collect();
        Mapping::compile(&sources, FamilyBounds::default()).unwrap()
    }

    #[test]
    fn all_stats_are_wanted_where_all_have_series() {
        assert_eq!(mapping(&["native"]).wanted(), None);
        assert_eq!(mapping(&["standard"]).wanted(), None);
    }

    #[test]
    fn it_finds_what_has_series_and_not_everything() {
        let mapping = mapping(&["native", "basic"]);
        let wanted = Regex::new(&mapping.wanted().unwrap()).unwrap();
        for (name, want) in [
            ("cluster.a.b.upstream_rq_2xx", true),
            ("cluster.a.b.upstream_rq_total", true),
            ("cluster.a.circuit_breakers.default.cx_open", true),
            ("cluster.a.b.membership_total", true),
            ("server.worker_3.watchdog_miss", true),
            ("server.uptime", true),
            ("http.in.gress.downstream_rq_5xx", true),
            ("cluster.a.b.upstream_rq_503", false),
            (
                "cluster.a.b.upstream_flow_control_paused_reading_total",
                false,
            ),
            ("cluster.a.lb_zone_routing_sampled", false),
            ("listener.0.0.0.0_80.ssl.no_certificate", false),
        ] {
            assert_eq!(wanted.is_match(name), want, "{name}");
        }
    }

    /// Every entry of the catalogue as if it alone were kept, under scope names that are odd in every
    /// way, read with and without knowing them.
    #[test]
    fn no_stat_that_is_kept_is_missed() {
        let mapping = mapping(&["native"]);
        let odd = ["a.b", "x_rq_503", "worker_0", "1.2.3.4_5"];
        let mut checked = 0;
        let is_cut = |name: &str| name.contains("_rq") || name.contains("worker_");
        let entries = mapping.catalogue().iter().enumerate();
        for (_, entry) in entries.filter(|(at, entry)| at % 8 == 0 || is_cut(&entry.name)) {
            let (pattern, _) = super::super::TokenPattern::from_base_name(&entry.name).unwrap();
            let mut regex = String::new();
            pattern.push_name_regex(&mut regex);
            let regex = Regex::new(&regex).unwrap();
            let plain = entry.name.replace(['{', '}', '*'], "");
            let tokens: Vec<&str> = plain.split('.').collect();
            for scope in odd {
                for at in 0..=tokens.len() {
                    let (front, back) = tokens.split_at(at);
                    let name = [front, &[scope], back].concat().join(".");
                    for name in [
                        name.clone(),
                        format!("{name}_200"),
                        name.replace("_xx", "_5xx"),
                    ] {
                        let scopes = Scopes::default();
                        let steps =
                            mapping.explain(&scopes, &Endpoints::default(), &name, None, None);
                        let is_entry = steps.entry.is_some_and(|have| have.name == entry.name);
                        if is_entry && matches!(steps.verdict, Verdict::Mapped(_)) {
                            assert!(regex.is_match(&name), "{name}: {}: {regex}", entry.name);
                            checked += 1;
                        }
                    }
                }
            }
        }
        assert!(checked > 1_000, "{checked}");
    }
}
