//! What the renderings say of the sample report, and that no response can break out of its place.

use assay_judging::report::Report;

use super::{html, latex, markdown, sheets, terminal};

fn sample() -> Report {
    serde_json::from_str(include_str!("../../../crates/judging/tests/fixtures/report.json")).unwrap()
}

/// The sample with every text that a person or a model wrote replaced by an attack.
fn hostile() -> Report {
    let attack = "</script></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'><!--\u{0}|`**";
    let mut report = sample();
    report.matrix = attack.to_owned();
    report.judges[0].info.name = attack.to_owned();
    report.method.warnings.push(attack.to_owned());
    report.comparisons[0].comparison.checkpoint = attack.to_owned();
    report.training[0].evals[1].checkpoint = attack.to_owned();
    report.reproducibility.matrix_digest = attack.to_owned();
    report.execution.jobs[0].label = attack.to_owned();
    for pair in &mut report.pairs {
        for text in [
            &mut pair.prompt,
            &mut pair.base.text,
            &mut pair.tuned.text,
            &mut pair.domain,
            &mut pair.prompt_id,
        ] {
            *text = attack.to_owned();
        }
        for verdict in &mut pair.verdicts {
            verdict.passes[0].note = Some(attack.to_owned());
        }
    }
    report
}

#[test]
fn the_terminal_has_a_hundred_columns() {
    let text = terminal(&sample());
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 100, "{widest} columns:\n{text}");
}

#[test]
fn every_rendering_marks_smoke() {
    let report = sample();
    for (name, text) in
        [("terminal", terminal(&report)), ("markdown", markdown(&report)), ("html", html(&report))]
    {
        assert!(text.contains("no evidence of quality"), "{name}");
        let judges = text.matches("smoke-plain").count();
        assert!(judges > 0 && text.contains("[smoke") || text.contains("\\[smoke"), "{name}");
    }
}

#[test]
fn fewer_than_ten_prompts_have_no_percentage() {
    let report = sample();
    let split = report.comparisons[0].rates.iter().find(|row| row.few).unwrap();
    assert!(split.rate.is_some(), "the value is in the JSON, not in print");
    for (text, said) in [(terminal(&report), "n < 10"), (markdown(&report), "n \\< 10")] {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(said)).collect();
        assert!(!lines.is_empty());
        assert!(lines.iter().all(|line| !line.contains('%')), "{lines:?}");
    }
}

#[test]
fn a_withheld_headline_shows_what_missing_verdicts_leave_open() {
    let mut report = sample();
    for comparison in &mut report.comparisons {
        for row in &mut comparison.rates {
            row.withheld = Some("3 of 24 verdicts are missing, more than 5 %".into());
            row.missing.refused = 3;
            row.bounds = Some(assay_judging::report::Bounds { low: 0.4, high: 0.7 });
        }
    }
    let text = markdown(&report);
    assert!(
        text.contains("withheld") && text.contains("40.0 to 70.0 (bounds)") && text.contains("3 refused")
    );
}

#[test]
fn all_sections_are_there() {
    let text = markdown(&sample());
    for heading in [
        "Win rate of tuned over base",
        "Checkpoints against each other",
        "Agreement between judges",
        "Judges",
        "Validation loss",
        "Responses",
        "Sampling",
        "Jobs",
        "Method",
        "To get the same numbers again",
    ] {
        assert!(text.contains(&format!("## {heading}\n")), "{heading}");
    }
    for said in ["epoch 2", "3.0947", "-0.31", "268.3", "35,520", "n \\< 10"] {
        assert!(text.contains(said), "{said}");
    }
}

#[test]
fn traces_of_identity_are_counted_shown_and_marked() {
    let mut report = sample();
    assert!(markdown(&report).contains("were scanned") || markdown(&report).contains("Traces of identity"));
    report.pairs[0].tuned.text.push_str(" As an AI language model I cannot say. <|im_end|>");
    let leaks = report.comparisons[0].leaks.as_mut().unwrap();
    (leaks.pairs_with_traces, leaks.rate_without) = (1, Some(0.625));
    leaks.found = vec![assay_judging::report::LeakCount {
        kind: assay_judging::leaks::LeakKind::ChatToken,
        found: String::from("<|im_end|>"),
        tuned: 1,
        base: 0,
    }];
    let text = markdown(&report);
    assert!(
        text.contains("Traces of identity") && text.contains("chat token") && text.contains("62.5 %"),
        "{text}"
    );
    let page = html(&report);
    assert!(page.contains("trace: as an ai") && page.contains("trace: &lt;|im_end|&gt;"));
    assert!(
        page.contains("data-verdicts=\"") && page.contains(" leak\"") | page.contains("leak "),
        "the filter knows it"
    );
    let sheet = sheets(&report).into_iter().find(|(name, _)| *name == "traces.csv").unwrap().1;
    assert!(sheet.contains("<|im_end|>,1,0,1,"), "{sheet}");
}

#[test]
fn workers_and_judges_stand_in_one_cost_table() {
    let mut report = sample();
    assert!(markdown(&report).contains("ran on workers without a price"));
    for job in &mut report.execution.jobs {
        if let Some(usage) = &mut job.usage {
            usage.usd_per_hour = Some(36.0);
        }
    }
    // Train: two attempts of 132.4 s, the lost one included.
    let text = markdown(&report);
    let row = text.lines().find(|line| line.starts_with("| train |")).unwrap();
    assert!(row.ends_with("| 2.65 |"), "{row}");
    assert!(text.contains("Workers 3.84 USD") && !text.contains("without a price"), "{text}");
}

#[test]
fn sampling_stands_side_by_side_and_a_difference_is_loud() {
    let mut report = sample();
    assert!(terminal(&report).contains("base and tuned alike"));
    let row = |report: &Report, setting: &str| -> String {
        let cell = format!("| {setting} |");
        let text = markdown(report).replace('\\', "");
        text.lines().find(|line| line.contains(&cell)).expect("a row of the setting").to_owned()
    };
    assert!(row(&report, "temperature").ends_with("| 0.75 | 0.75 (matrix) | 0.75 (matrix) | yes |"));
    assert!(row(&report, "top_p").ends_with("| left to the model | 0.9 (model) | 0.9 (model) | yes |"));
    assert!(row(&report, "min_p").ends_with("| left to the model | 0 (off) | 0 (off) | yes |"));

    let set = &mut report.sampling[0];
    set.differing = vec!["top_p".into()];
    set.systems[1].effective = None;
    set.systems[2].effective.as_mut().unwrap().top_p.value = 0.8;
    assert!(terminal(&report).contains("BASE AND TUNED DIFFER in top_p"));
    let shown = row(&report, "top_p");
    assert!(shown.contains("step-6: not recorded; ") && shown.contains("step-12: 0.8 (model)"), "{shown}");
    assert!(shown.ends_with("| NO |"), "{shown}");
}

#[test]
fn html_asks_nobody_for_anything() {
    let page = html(&sample());
    for request in ["http://", "https://", "url(", "@import", " src=", "<link", "<iframe", "fetch("] {
        let shown = page.replace("&lt;img src=x", "");
        assert!(!shown.contains(request), "{request}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn nothing_that_a_model_wrote_becomes_markup() {
    let page = html(&hostile());
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("</script>").count(), 1);
    assert_eq!(page.matches("</style>").count(), 1);
    assert!(!page.contains("<img") && !page.contains("<!--") && !page.contains('\0'));
    assert_eq!(page.matches("<article").count(), sample().pairs.len());
    // Attributes stay closed: every tag has an even number of quotes.
    for tag in page.split('<').skip(1).filter_map(|part| part.split_once('>')).map(|(tag, _)| tag) {
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
    }
    let text = markdown(&hostile());
    assert!(!text.contains("<script") || text.contains("\\<script"));
}

#[test]
fn an_empty_report_renders() {
    let mut report = sample();
    for comparison in &mut report.comparisons {
        comparison.rates.clear();
        comparison.leave_one_out.clear();
    }
    report.comparisons.truncate(1);
    report.judges.clear();
    report.method.panel.clear();
    report.agreement = Default::default();
    report.training.clear();
    report.generations.clear();
    report.sampling.clear();
    report.pairs.clear();
    report.checkpoint_differences.clear();
    report.execution = Default::default();
    assert!(terminal(&report).contains("Report of philosophy"));
    assert!(markdown(&report).contains("## Method"));
    assert!(html(&report).ends_with("</html>\n"));
}

#[test]
fn sheets_have_all_tables_and_no_percentage_of_few_prompts() {
    let report = sample();
    let all = sheets(&report);
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    for name in ["win_rates.csv", "checkpoints.csv", "style.csv", "agreement.csv", "judges.csv", "jobs.csv"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let mut reader = csv::Reader::from_reader(all[0].1.as_bytes());
    let header = reader.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|known| known == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), report.comparisons.iter().map(|c| c.rates.len()).sum::<usize>());
    for row in &rows {
        let few = row[column("n_prompts")].parse::<u32>().unwrap() < 10;
        assert_eq!(few, row[column("rate")].is_empty(), "{row:?}");
    }
}

#[test]
fn a_cell_is_never_a_formula() {
    let mut report = sample();
    report.comparisons[0].comparison.checkpoint = "=HYPERLINK(\"x\"),2".to_owned();
    let text = sheets(&report).remove(0).1;
    assert!(text.contains("\"'=HYPERLINK(\"\"x\"\"),2\""), "{text}");
}

#[test]
fn latex_tables_are_whole_and_nothing_in_them_is_a_command() {
    for (report, name) in [(sample(), "sample"), (hostile(), "hostile")] {
        let text = latex(&report);
        let count = |what: &str| text.matches(what).count();
        assert!(count("\\begin{table}") >= 5, "{name}");
        assert_eq!(count("\\begin{tabular}"), count("\\end{tabular}"));
        assert_eq!(count("\\toprule"), count("\\bottomrule"));
        assert!(text.contains("smoke: no evidence of quality"));
        assert_eq!(count("\\resizebox"), count("\\end{tabular}}"), "{name}");
        for line in text.lines().filter(|line| !line.starts_with('%') && !line.starts_with("\\resizebox")) {
            let bare = line.replace("\\%", "").replace("\\_", "").replace("\\#", "").replace("\\&", "");
            assert!(!bare.contains(['%', '_', '#', '<', '>']), "{name}: {line}");
        }
    }
}

/// The sample with its last checkpoint compared directly with the one before.
fn with_direct() -> Report {
    let mut report = sample();
    let mut direct = report.comparisons[1].clone();
    let earlier = report.comparisons[0].comparison.clone();
    let old = direct.comparison.id.clone();
    direct.comparison.id = format!("{old}/against/epoch-1");
    direct.comparison.against = Some(assay_domain::job::Opponent {
        model: earlier.model.clone(),
        system: earlier.tuned(),
        checkpoint: earlier.checkpoint,
        quantization: None,
    });
    let pairs: Vec<_> = report.pairs.iter().filter(|pair| pair.comparison == old).cloned().collect();
    report.pairs.extend(pairs.into_iter().map(|mut pair| {
        pair.comparison.clone_from(&direct.comparison.id);
        pair
    }));
    report.direct.push(direct);
    report
}

#[test]
fn what_judges_compared_directly_has_its_own_table_figure_and_words() {
    let (without, report) = (sample(), with_direct());
    let that = "smollm2-135m authored lora-r8 seed 42 epoch 1";
    let heading = "compared with each other by the judges";
    let renderings = |report: &Report| [terminal(report), markdown(report), latex(report), html(report)];
    for (with, without) in renderings(&report).iter().zip(renderings(&without)) {
        assert!(with.to_lowercase().contains(heading), "{with}");
        assert!(!without.to_lowercase().contains(heading));
    }
    let (page, plain) = (html(&report), html(&without));
    assert!(page.contains(&format!("epoch 2 over {that}")), "named in the viewer's list and the figure");
    assert_eq!(page.matches("the first better").count(), 1, "a figure of its own");
    let articles = |page: &str| page.matches("<h4>this <small>").count();
    assert_eq!((articles(&page), articles(&plain)), (12, 0), "no side of it is called tuned");
    assert_eq!(page.matches("<h4>that <small>").count(), 12);
    assert_eq!(page.matches("<h4>tuned <small>").count(), plain.matches("<h4>tuned <small>").count());
    let widest = terminal(&report).lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 100, "{widest} columns");
    let sheet = |report: &Report, wanted: &str| {
        sheets(report).into_iter().find(|(name, _)| *name == wanted).map(|(_, text)| text)
    };
    assert_eq!(sheet(&report, "win_rates.csv"), sheet(&without, "win_rates.csv"));
    let direct = sheet(&report, "direct.csv").unwrap();
    assert_eq!(direct.lines().count(), 1 + report.direct[0].rates.len(), "{direct}");
    assert_eq!(sheet(&without, "direct.csv"), None);
}
