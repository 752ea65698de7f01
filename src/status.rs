//! The status page: what an operator wants to see at a glance, as HTML without outside resources.

use std::fmt::Write as _;

use crate::poll::Handle;
use crate::snapshot::DropReason;

/// How many families the page lists.
const LARGEST: usize = 25;

const STYLE: &str = "
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
code { font-family: ui-monospace, monospace; }
";

/// Writes the page, with a link to the metrics.
pub fn page(targets: &[Handle], telemetry_path: &str) -> String {
    let mut html =
        String::from("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    // Writing to a String cannot fail.
    let _ = write!(
        html,
        "<title>envoy-exporter</title><style>{STYLE}</style></head><body>\
         <h1>envoy-exporter</h1><p>Version {}. <a href=\"{}\">Metrics</a> · \
         <a href=\"-/healthy\">healthy</a> · <a href=\"-/ready\">ready</a></p>",
        env!("CARGO_PKG_VERSION"),
        // Relative, so that it holds behind a proxy that adds a prefix.
        escaped(telemetry_path.trim_start_matches('/'))
    );
    for target in targets {
        write_target(&mut html, target);
    }
    html.push_str("</body></html>\n");
    html
}

fn write_target(html: &mut String, target: &Handle) {
    let view = target.view();
    let _ = write!(
        html,
        "<h2>{}</h2><table><tr><th>Address<td><code>{}</code>",
        escaped(target.name()),
        escaped(target.address())
    );
    let state = match (&view.error, target.fresh()) {
        (None, Some(_)) => "up".to_owned(),
        (Some(error), Some(_)) => format!(
            "the last poll failed, older data is served: {}",
            escaped(error)
        ),
        (Some(error), None) => format!("down: {}", escaped(error)),
        (None, None) => "not polled yet".to_owned(),
    };
    let _ = write!(html, "<tr><th>State<td>{state}");
    let Some(last) = view.last else {
        html.push_str("</table>");
        return;
    };
    let ((series, families), report) = (last.size(), last.report());
    let _ = write!(
        html,
        "<tr><th>Last success<td>{:.1} s ago, took {:.3} s, {} bytes\
         <tr><th>Series<td>{} in {} families\
         <tr><th>Undescribed stats<td>{}",
        last.ended.elapsed().as_secs_f64(),
        last.took.as_secs_f64(),
        last.body_bytes,
        series,
        families,
        report.undescribed
    );
    for reason in DropReason::ALL {
        let dropped = report.dropped(reason);
        if dropped > 0 {
            let _ = write!(html, "<tr><th>Dropped, {}<td>{dropped}", reason.as_str());
        }
    }
    if !report.conflicts.is_empty() {
        let families = escaped(&report.conflicts.join(", "));
        let _ = write!(html, "<tr><th>Families in conflict<td>{families}");
    }
    if !report.limited.is_empty() {
        let families = escaped(&report.limited.join(", "));
        let _ = write!(html, "<tr><th>Families over a limit<td>{families}");
    }
    html.push_str("</table>");
    html.push_str("<h3>Largest families</h3><table><tr><th>Family<th>Series");
    for (series, name) in last.snapshot.largest().into_iter().take(LARGEST) {
        let _ = write!(html, "<tr><td><code>{name}</code><td class=n>{series}");
    }
    html.push_str("</table>");
}

/// Text for HTML, in and out of attributes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn names_cannot_break_out() {
        assert_eq!(
            escaped("<a href=\"x\">'&"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;"
        );
    }
}
