//! The status page: what an operator wants to see at a glance, as HTML without scripts or outside
//! resources.
//!
//! Everything on it has a bound, whatever a proxy has: the families that are largest, or that match
//! what is searched for (`?q=`), the first names of what is undescribed or dropped. What is left out
//! is counted. Text from targets is escaped, in attributes too.

mod html;
mod sources;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::demand::View;
use crate::foreign::Refused;
use crate::merge;
use crate::poll::{Handle, LastPoll};
use crate::snapshot::{DropReason, Report};

use html::{STYLE, ago, count, escaped, escaped_query, size};

/// How many families are listed.
const LARGEST: usize = 40;

/// How many are listed that match.
const MATCHES: usize = 300;

/// How many names of a kind are listed of all targets together.
const NAMES: usize = 100;

/// Longest text that is searched for; no name of a family is as long.
const MAX_QUERY: usize = 200;

/// What the page shows.
#[derive(Debug)]
pub struct Site<'p> {
    /// The targets.
    pub targets: &'p [Handle],
    /// What is merged.
    pub sources: &'p [merge::Handle],
    /// What of them is in conflict with others, by source.
    pub conflicts: &'p [(String, Vec<Refused>)],
    /// Where the metrics are.
    pub telemetry_path: &'p str,
    /// The configuration that was read last.
    pub config: ConfigState,
}

/// What became of the configuration that was read last.
#[derive(Clone, Copy, Debug)]
pub struct ConfigState {
    /// Whether it is in use.
    pub in_use: bool,
    /// When the one in use was read, in seconds since 1970.
    pub read_unix: f64,
}

/// A target and what is known of it, for the time of one page.
struct Seen<'p> {
    target: &'p Handle,
    view: View<LastPoll>,
    /// Of its last poll.
    report: Report,
}

/// What is searched for: words that all have to be found.
struct Search {
    text: String,
    words: Vec<String>,
}

impl Search {
    fn of(query: &str) -> Self {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let found = pairs.find(|(key, _)| key == "q");
        let text = found.map(|(_, value)| value.into_owned());
        let text: String = text.unwrap_or_default().chars().take(MAX_QUERY).collect();
        let words = text.split_whitespace();
        Self {
            words: words.map(str::to_lowercase).collect(),
            text: text.trim().to_owned(),
        }
    }

    fn is_of_all(&self) -> bool {
        self.words.is_empty()
    }

    fn finds(&self, texts: &[&str]) -> bool {
        let has = |word: &String| texts.iter().any(|text| text.to_lowercase().contains(word));
        self.words.iter().all(has)
    }
}

/// Writes the page that answers a query.
pub fn page<'p>(site: &Site<'p>, query: &str) -> String {
    let search = Search::of(query);
    let seen = |target: &'p Handle| {
        let view = target.view();
        let report = view.last.as_ref().map(LastPoll::report);
        Seen {
            target,
            report: report.unwrap_or_default(),
            view,
        }
    };
    let all: Vec<_> = site.targets.iter().map(seen).collect();
    let mut out = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">",
    );
    // Relative, so that links hold behind a proxy that adds a prefix.
    let metrics = escaped(site.telemetry_path.trim_start_matches('/'));
    let _ = writeln!(
        out,
        "<title>envoy-exporter</title><style>{STYLE}</style></head><body>\
         <header><h1>envoy-exporter <small>{}</small></h1><nav><a href=\"{metrics}\">Metrics</a>\
         <a href=\"-/healthy\">Healthy</a><a href=\"-/ready\">Ready</a></nav></header><main>",
        env!("CARGO_PKG_VERSION"),
    );
    write_targets(&mut out, &all);
    sources::write(&mut out, site);
    write_families(&mut out, &all, &search, &metrics);
    write_undescribed(&mut out, &all, &search);
    write_dropped(&mut out, &all, &search);
    write_program(&mut out, site.config);
    out.push_str("</main></body></html>\n");
    out
}

/// How what is polled fares, as a class and in words; some of them say what is served and what is stale.
fn state<L>(view: &View<L>, fresh: bool, [served, stale]: [&str; 2]) -> (&'static str, String) {
    match (&view.error, fresh, &view.last) {
        (None, true, _) => ("up", "up".to_owned()),
        (Some(error), true, _) => ("late", format!("the last poll failed, {served}: {error}")),
        (Some(error), false, _) => ("down", format!("down: {error}")),
        (None, false, Some(_)) => ("late", stale.to_owned()),
        (None, false, None) => ("late", "not polled yet".to_owned()),
    }
}

fn write_targets(out: &mut String, all: &[Seen<'_>]) {
    out.push_str(
        "<h2>Targets</h2><div class=\"wide\"><table id=\"targets\"><thead><tr><th>Target<th>State\
         <th class=\"n\">Last poll<th class=\"n\">Took<th class=\"n\">Size<th class=\"n\">Series\
         <th class=\"n\">Families<th class=\"n\">Counts since</thead><tbody>\n",
    );
    for Seen { target, view, .. } in all {
        let fresh = target.fresh().is_some();
        let (class, state) = state(view, fresh, ["older data is served", "its data is stale"]);
        let _ = write!(
            out,
            "<tr><td><b>{}</b><br><code>{}</code><td><span class=\"{class}\">{}</span>",
            escaped(target.name()),
            escaped(target.address()),
            escaped(&state)
        );
        let Some(last) = &view.last else {
            out.push_str("<td class=\"n\">never<td><td><td><td><td>\n");
            continue;
        };
        let (series, families) = last.size();
        let start = last
            .snapshot
            .start()
            .map(|start| since_unix(start.counters));
        let _ = writeln!(
            out,
            "<td class=\"n\">{}<td class=\"n\">{:.0} ms<td class=\"n\">{}<td class=\"n\">{}\
             <td class=\"n\">{}<td class=\"n\">{}",
            ago(last.ended.elapsed()),
            last.took.as_secs_f64() * 1e3,
            size(last.body_bytes),
            count(series),
            count(families),
            start.map(ago).unwrap_or_default()
        );
    }
    out.push_str("</table></div>\n");
}

/// A family in all targets.
struct Listed {
    name: String,
    help: String,
    kind: &'static str,
    series: usize,
}

/// The families that are found, the largest first.
fn families(all: &[Seen<'_>], search: &Search) -> Vec<Listed> {
    let lasts = all.iter().filter_map(|seen| seen.view.last.as_ref());
    let mut by_name: BTreeMap<&str, Listed> = BTreeMap::new();
    let snapshots = lasts.flat_map(LastPoll::snapshots);
    for family in snapshots.flat_map(|snapshot| snapshot.families()) {
        if let Some(listed) = by_name.get_mut(family.name()) {
            listed.series += family.len();
        } else if search.finds(&[family.name(), family.help()]) {
            let listed = Listed {
                name: family.name().to_owned(),
                help: family.help().to_owned(),
                kind: family.family_type().text_name(),
                series: family.len(),
            };
            by_name.insert(family.name(), listed);
        }
    }
    let mut found: Vec<_> = by_name.into_values().collect();
    // The sort keeps the order of names where sizes are equal.
    found.sort_by_key(|listed| std::cmp::Reverse(listed.series));
    found
}

fn write_families(out: &mut String, all: &[Seen<'_>], search: &Search, metrics: &str) {
    let found = families(all, search);
    let bound = if search.is_of_all() { LARGEST } else { MATCHES };
    let _ = write!(
        out,
        "<h2>Families</h2><form role=\"search\"><input name=\"q\" type=\"search\" value=\"{}\" \
         placeholder=\"part of a name or of a description\" aria-label=\"Search families\" \
         maxlength=\"{MAX_QUERY}\"><button>Search</button>",
        escaped(&search.text)
    );
    if !search.is_of_all() {
        out.push_str(" <a href=\"?\">all</a>");
    }
    let shown = found.len().min(bound);
    let (total, shown) = (count(found.len()), count(shown));
    let what = match (search.is_of_all(), found.len() > bound) {
        (true, true) => format!("The largest {shown} of {total}."),
        (true, false) => format!("All {total}, the largest first."),
        (false, true) => format!("{total} found; the largest {shown} are shown."),
        (false, false) => format!("{total} found."),
    };
    let _ = writeln!(
        out,
        "</form><p class=\"quiet\" id=\"found\">{what}</p><table id=\"families\"><thead><tr>\
         <th>Family<th>Type<th class=\"n\">Series</thead><tbody>"
    );
    for listed in found.iter().take(bound) {
        let _ = writeln!(
            out,
            "<tr><td><a href=\"{metrics}?name%5B%5D={}\"><code>{}</code></a>\
             <div class=\"quiet\">{}</div><td>{}<td class=\"n\">{}",
            escaped_query(&listed.name),
            escaped(&listed.name),
            escaped(&listed.help),
            listed.kind,
            count(listed.series)
        );
    }
    out.push_str("</table>\n");
}

fn write_undescribed(out: &mut String, all: &[Seen<'_>], search: &Search) {
    let reports = || all.iter().map(|seen| &seen.report);
    let stats: usize = reports().map(|report| report.undescribed).sum();
    if stats == 0 {
        return;
    }
    let noted = reports().flat_map(|report| &report.names.undescribed);
    let noted = noted.filter(|noted| search.finds(&[&noted.family, &noted.example]));
    let _ = writeln!(
        out,
        "<h2>Undescribed stats</h2><p class=\"quiet\">{} are exported though no entry of the mapping \
         table describes them. <code>envoy-exporter coverage --suggest</code> writes entries.</p>\
         <table id=\"undescribed\"><thead><tr><th>Family<th>A stat of it<th class=\"n\">Stats\
         </thead><tbody>",
        count(stats)
    );
    for noted in noted.take(NAMES) {
        let _ = writeln!(
            out,
            "<tr><td><code>{}</code><td><code>{}</code><td class=\"n\">{}",
            escaped(&noted.family),
            escaped(&noted.example),
            count(noted.stats)
        );
    }
    out.push_str("</table>\n");
}

fn write_dropped(out: &mut String, all: &[Seen<'_>], search: &Search) {
    let reports = || all.iter().map(|seen| &seen.report);
    let dropped = |reason| -> usize { reports().map(|report| report.dropped(reason)).sum() };
    if DropReason::ALL
        .into_iter()
        .all(|reason| dropped(reason) == 0)
    {
        return;
    }
    out.push_str(
        "<h2>Dropped stats</h2><table id=\"dropped\"><thead><tr><th>Reason<th class=\"n\">Stats\
         <th>Some of them</thead><tbody>\n",
    );
    for reason in DropReason::ALL {
        let stats = dropped(reason);
        if stats == 0 {
            continue;
        }
        let _ = write!(
            out,
            "<tr><td><b>{}</b><div class=\"quiet\">{}</div><td class=\"n\">{}<td>",
            reason.as_str(),
            meaning(reason),
            count(stats)
        );
        let families = reports().flat_map(|report| families_of(report, reason));
        let families: Vec<_> = families.map(|family| escaped(family)).collect();
        if !families.is_empty() {
            let families = families.join(", ");
            let _ = write!(out, "<div class=\"quiet\">in {families}</div>");
        }
        let names = reports().flat_map(|report| report.names.dropped(reason));
        let names = names.filter(|name| search.finds(&[name.as_str()]));
        for name in names.take(NAMES) {
            let _ = write!(out, "<code>{}</code><br>", escaped(name));
        }
        out.push('\n');
    }
    out.push_str("</table>\n");
}

/// The families that stats fell out of, where that is kept.
fn families_of(report: &Report, reason: DropReason) -> &[String] {
    match reason {
        DropReason::Conflict => &report.conflicts,
        DropReason::Limit => &report.limited,
        DropReason::Invalid | DropReason::Relabel | DropReason::Rule => &[],
    }
}

const fn meaning(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Conflict => "another stat has the series, or another family the name",
        DropReason::Invalid => "no legal series comes of it",
        DropReason::Limit => "above a limit of the configuration",
        DropReason::Relabel => "by metric_relabel_configs",
        DropReason::Rule => "by a rule of the mapping table",
    }
}

fn write_program(out: &mut String, config: ConfigState) {
    let read = ago(since_unix(config.read_unix));
    let state = if config.in_use {
        format!("read {read}, in use")
    } else {
        format!("the last reload failed; the one in use was read {read}. The log says why.")
    };
    let class = if config.in_use { "up" } else { "down" };
    let _ = writeln!(
        out,
        "<h2>Program</h2><table id=\"program\"><tr><th>Version<td>{}<tr><th>Revision<td><code>{}</code>\
         <tr><th>Built with<td>{}<tr><th>Configuration<td><span class=\"{class}\">{state}</span></table>",
        env!("CARGO_PKG_VERSION"),
        env!("ENVOY_EXPORTER_REVISION"),
        escaped(env!("ENVOY_EXPORTER_RUSTC")),
    );
}

/// Time since a point in seconds since 1970; none for one that is to come.
fn since_unix(unix: f64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = now.unwrap_or_default().as_secs_f64() - unix;
    Duration::try_from_secs_f64(since).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Search;

    #[test]
    fn what_is_searched_for() {
        for (query, text, words) in [
            ("", "", &[][..]),
            ("q=", "", &[]),
            ("x=y", "", &[]),
            ("q=Upstream+RQ", "Upstream RQ", &["upstream", "rq"]),
            ("x=y&q=%3Cb%3E&q=z", "<b>", &["<b>"]),
            ("q=%20%20", "", &[]),
            ("q=%FF", "\u{fffd}", &["\u{fffd}"]),
        ] {
            let search = Search::of(query);
            assert_eq!(search.text, text, "{query}");
            assert_eq!(search.words, words, "{query}");
            assert_eq!(search.is_of_all(), words.is_empty(), "{query}");
        }
        assert_eq!(
            Search::of(&format!("q={}", "x".repeat(1000))).text.len(),
            200
        );
    }

    #[test]
    fn every_word_has_to_be_found() {
        let search = Search::of("q=RQ+time");
        assert!(search.finds(&["upstream_rq_time", "x"]));
        assert!(search.finds(&["upstream_rq", "Time of requests."]));
        assert!(!search.finds(&["upstream_rq", "x"]));
        assert!(Search::of("").finds(&[]));
    }
}
