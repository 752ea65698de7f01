//! What the page shows of merged sources: nothing where there are none.

use std::fmt::Write as _;

use super::html::{ago, count, escaped, size};
use super::{NAMES, Site, state};
use crate::foreign::Refused;
use crate::merge::Handle;

pub(super) fn write(out: &mut String, site: &Site<'_>) {
    if site.sources.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Merged sources</h2><div class=\"wide\"><table id=\"sources\"><thead><tr><th>Source\
         <th>State<th class=\"n\">Last poll<th class=\"n\">Took<th class=\"n\">Size\
         <th class=\"n\">Series<th>Left out</thead><tbody>\n",
    );
    for source in site.sources {
        let conflicts = site.conflicts.iter();
        let conflicts = conflicts
            .filter(|(name, _)| name == source.name())
            .flat_map(|(_, refused)| refused.iter().cloned());
        write_source(out, source, conflicts);
    }
    out.push_str("</table></div>\n");
}

fn write_source(out: &mut String, source: &Handle, conflicts: impl Iterator<Item = Refused>) {
    let view = source.view();
    let fresh = source.fresh().is_some();
    let words = ["older series are served", "its series are stale"];
    let (class, state) = state(&view, fresh, words);
    let _ = write!(
        out,
        "<tr><td><b>{}</b><br><code>{}</code><td><span class=\"{class}\">{}</span>",
        escaped(source.name()),
        escaped(&source.options().url.to_string()),
        escaped(&state)
    );
    let Some(last) = &view.last else {
        out.push_str("<td class=\"n\">never<td><td><td><td>\n");
        return;
    };
    let _ = write!(
        out,
        "<td class=\"n\">{}<td class=\"n\">{:.0} ms<td class=\"n\">{}<td class=\"n\">{}<td>",
        ago(last.ended.elapsed()),
        last.took.as_secs_f64() * 1e3,
        size(last.body_bytes),
        count(last.snapshot.series()),
    );
    for refused in last.refused.iter().cloned().chain(conflicts).take(NAMES) {
        let _ = write!(
            out,
            "<code>{}</code> <span class=\"quiet\">{}: {}</span><br>",
            escaped(&refused.family),
            refused.reason.as_str(),
            escaped(&refused.why)
        );
    }
    out.push('\n');
}
