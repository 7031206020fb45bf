//! Systems against each other: models on shared prompts, training seeds together, strengths on one scale.

use assay_judging::report::{Interval, PROMPTS_FOR_PERCENT, Report, SeedPool, StrengthReport};

use crate::report::document::{Block, Table, numbers, words};
use crate::report::format;

pub(super) fn blocks(report: &Report) -> Vec<Block> {
    [differences(report), seeds(report), report.strengths.iter().flat_map(strengths).collect()].concat()
}

fn differences(report: &Report) -> Vec<Block> {
    if report.system_differences.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&[
        words("this"),
        words("less this"),
        words("prompts of"),
        numbers("n"),
        numbers("difference"),
        numbers("95 % interval"),
        numbers("p"),
        numbers("p (Holm)"),
    ]);
    for row in &report.system_differences {
        let few = row.prompts < PROMPTS_FOR_PERCENT as u64;
        table.push([
            row.other.clone(),
            row.one.clone(),
            row.prompts_of.clone(),
            row.prompts.to_string(),
            if few { "n < 10".to_owned() } else { format::points(row.difference) },
            row.interval
                .as_ref()
                .filter(|_| !few)
                .map_or_else(|| format::NOTHING.to_owned(), format::points_interval),
            format::p_value(row.p),
            format::p_value(row.p_holm),
        ]);
    }
    vec![
        Block::Heading("Systems against each other".to_owned()),
        Block::Text(
            "In points of the panel's win rate, each system at its last checkpoint over its own base, paired by prompt; \
             training seeds are averaged first; p by sign flips over prompts."
                .to_owned(),
        ),
        Block::Table(table),
    ]
}

fn seeds(report: &Report) -> Vec<Block> {
    if report.seed_pools.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&[
        words("system"),
        words("checkpoint"),
        numbers("n"),
        words("each seed"),
        numbers("pooled"),
        numbers("95 % interval"),
        numbers("sd of seeds"),
    ]);
    for pool in &report.seed_pools {
        table.push(seed_row(report, pool));
    }
    vec![
        Block::Heading("Training seeds together".to_owned()),
        Block::Text(
            "The panel's win rate with each seed, and over all of them: prompts and seeds are both samples, so the interval is \
             for new prompts and new seeds. The last column is how far seeds differ beyond chance, in points."
                .to_owned(),
        ),
        Block::Table(table),
    ]
}

fn seed_row(report: &Report, pool: &SeedPool) -> [String; 7] {
    let mut all = report.all_comparisons();
    let found = all.find(|c| pool.comparisons.contains(&c.comparison.id));
    let system = found.map_or_else(String::new, |c| {
        let c = &c.comparison;
        format!("{}; {} {}", format::words(c), c.prompts, c.sampling).trim_end().to_owned()
    });
    let nothing = || format::NOTHING.to_owned();
    let over = found.and_then(|c| format::against(&c.comparison));
    let each = pool.seeds.iter().zip(&pool.rates);
    let each: Vec<String> = each.map(|(seed, rate)| format!("{seed}: {}", format::percent(*rate))).collect();
    let interval = |i: &Interval| format::interval(i);
    [
        system,
        over.map_or_else(|| pool.checkpoint.clone(), |over| format!("{} over {over}", pool.checkpoint)),
        pool.prompts.to_string(),
        if pool.few { "n < 10".to_owned() } else { each.join(", ") },
        if pool.few { "n < 10".to_owned() } else { format::percent(pool.rate) },
        pool.interval.as_ref().filter(|_| !pool.few).map_or_else(nothing, interval),
        format!("{:.1}", pool.seed_sd * 100.0),
    ]
}

fn strengths(group: &StrengthReport) -> Vec<Block> {
    let heading = format!("Strengths (Bradley and Terry): {}", group.group);
    if let Some(why) = &group.not_estimated {
        return vec![Block::Text(format!("{heading}: {why}"))];
    }
    let mut table = Table::new(&[
        words("system"),
        numbers("log strength"),
        numbers("95 % interval"),
        numbers("won"),
        numbers("lost"),
    ]);
    for system in &group.systems {
        let interval = system.interval.map(|[low, high]| format!("{low:+.2} to {high:+.2}"));
        table.push([
            system.system.clone(),
            format!("{:+.2}", system.log_strength),
            interval.unwrap_or_else(|| format::NOTHING.to_owned()),
            format!("{:.1}", system.wins),
            format!("{:.1}", system.losses),
        ]);
    }
    let heading = if group.prior_used {
        format!("{heading} (half a win added each way: some system never lost, or never won)")
    } else {
        heading
    };
    let mut blocks = vec![Block::Folded(heading, table)];
    if !group.unconnected.is_empty() {
        blocks.push(Block::Text(format!(
            "No comparison connects these with {}: the strengths above say nothing about them.",
            group.unconnected.join(", ")
        )));
    }
    blocks
}
