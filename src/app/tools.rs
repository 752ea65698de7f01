//! The commands that look at configuration and tables without serving: `check`, `explain` and
//! `coverage`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::Flags;
use crate::config::Config;
use crate::coverage::Coverage;
use crate::decode;
use crate::explain::Explainer;
use crate::mapping::Mapping;
use crate::mapping::endpoints::Endpoints;
use crate::mapping::scopes::Scopes;
use crate::poll::Poller;
use crate::snapshot::Snapshot;
use crate::stat::StatType;
use crate::telemetry::Telemetry;
use crate::transport::{AdminAddress, Query, Transport};
use crate::web::LiveConfig;

/// Says that everything is valid, and what is worth a second look; with a target also what of it
/// would have no series.
pub(super) async fn check(
    flags: &Flags,
    config: Config,
    live: &LiveConfig,
) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    for advice in config.mapping.advice().into_iter().chain(live.warnings()) {
        writeln!(stdout, "warning: {advice}")?;
    }
    let targets = config.targets.len();
    let described = config.mapping.catalogue().len();
    let is_capture = |address: &AdminAddress| matches!(address, AdminAddress::File(_));
    let first = config.targets.first().map(|target| &target.address);
    if flags.admin_address.is_some() || first.is_some_and(is_capture) {
        let rules = never_applied(&config).await?;
        for rule in rules {
            writeln!(
                stdout,
                "warning: {rule}: it applies to no stat of the target"
            )?;
        }
        let snapshot = poll(&config).await?;
        let report = snapshot.report();
        for (families, why) in [
            (
                &report.conflicts,
                "two stats, or more, end in one series of it, and one is kept",
            ),
            (
                &report.limited,
                "it has more series than the limits let through",
            ),
        ] {
            for family in families {
                writeln!(stdout, "warning: {family}: {why}")?;
            }
        }
    }
    writeln!(
        stdout,
        "valid: {targets} target(s), {described} described stats"
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The users' rules that apply to none of the target's stats, each with its place.
async fn never_applied(config: &Config) -> anyhow::Result<Vec<String>> {
    let stats = known_stats(config).await?;
    let scopes = learned(&config.mapping, stats.keys());
    let mut applied = hashbrown::HashSet::new();
    for (name, stat_type) in &stats {
        let steps =
            config
                .mapping
                .explain(&scopes, &Endpoints::default(), name, Some(*stat_type), None);
        applied.extend(steps.rules.iter().map(|rule| std::ptr::from_ref(*rule)));
    }
    let rules = config.mapping.rules().iter();
    let idle = rules.filter(|rule| rule.is_users && !applied.contains(&std::ptr::from_ref(*rule)));
    Ok(idle
        .map(|rule| format!("{}:{}: rule for '{}'", rule.file, rule.place, rule.stat))
        .collect())
}

/// Explains stat names, with the first target's scope names and types where it can be read.
pub(super) async fn explain(
    flags: &Flags,
    config: Config,
    stats: &[String],
) -> anyhow::Result<ExitCode> {
    let known = if flags.admin_address.is_some() {
        known_stats(&config).await?
    } else {
        BTreeMap::new()
    };
    let target = config.targets.first().context("no target")?;
    let explainer = Explainer {
        mapping: &config.mapping,
        scopes: &learned(&config.mapping, known.keys().chain(stats)),
        target_labels: &target.labels,
        relabel: &config.relabel,
    };
    let mut stdout = std::io::stdout().lock();
    let mut all_described = true;
    for stat in stats {
        let stat_type = known.get(stat).copied();
        let (text, described) = explainer.explain(stat, stat_type);
        all_described &= described;
        write!(stdout, "{text}")?;
        if flags.admin_address.is_some() && stat_type.is_none() {
            writeln!(
                stdout,
                "  note         the target has no stat of this name now"
            )?;
        }
    }
    Ok(if all_described {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Says how much of what the first target sends is described, or what would describe the rest.
pub(super) async fn coverage(config: Config, suggest: bool) -> anyhow::Result<ExitCode> {
    let stats = known_stats(&config).await?;
    let scopes = learned(&config.mapping, stats.keys());
    let coverage = Coverage::new(&config.mapping, &scopes, &stats);
    let mut stdout = std::io::stdout().lock();
    if suggest {
        write!(stdout, "{}", coverage.suggestion())?;
    } else {
        let snapshot = poll(&config).await?;
        write!(stdout, "{}", coverage.report(&snapshot))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn learned<'n>(mapping: &Mapping, names: impl Iterator<Item = &'n String>) -> Scopes {
    let names: Vec<_> = names.collect();
    mapping.scopes().learn(&|_, each| {
        for name in &names {
            each(name);
        }
    })
}

/// Reads the first target once.
async fn poll(config: &Config) -> anyhow::Result<Snapshot> {
    let target = config.targets.first().context("no target")?;
    let transport = Transport::open(target.address.clone(), target.transport())?;
    let own = Telemetry::new().context("own metrics")?;
    let reserved = super::reserved(&own);
    let settings = config.settings(target, &reserved);
    let mut poller = Poller::new(transport, target.poll.timeout, settings);
    Ok(poller.poll().await?.snapshot)
}

/// The stats of the first target, by name.
async fn known_stats(config: &Config) -> anyhow::Result<BTreeMap<String, StatType>> {
    let target = config.targets.first().context("no target")?;
    let mut transport = Transport::open(target.address.clone(), target.transport())?;
    let deadline = tokio::time::Instant::now() + target.poll.timeout;
    let mut body = Vec::new();
    let mut known = BTreeMap::new();
    for (query, stat_type) in [
        (Query::Counters, StatType::Counter),
        (Query::Gauges, StatType::Gauge),
        (Query::TextReadouts, StatType::TextReadout),
    ] {
        transport.fetch(query, &mut body, deadline).await?;
        decode::stats(&body, |name, _| {
            known.insert(name.to_owned(), stat_type);
        })?;
    }
    transport
        .fetch(Query::Histograms, &mut body, deadline)
        .await?;
    decode::histograms(&body, |histogram| {
        known.insert(histogram.name.to_owned(), StatType::Histogram);
    })?;
    Ok(known)
}
