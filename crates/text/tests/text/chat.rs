//! Chat templates against texts that Transformers rendered, and against Jinja's own rules.

use assay_text::chat::{ChatTemplate, CivilDate, Message, RenderOptions, TemplateError};
use assay_text::rows::prompt_ids;
use assay_text::tokenizer::SpecialTokens;
use serde_json::{Value, json};

use crate::support::{family_tokenizer, fixture, fixture_json, messages, options, template};

fn render(source: &str, turns: &[(&str, &str)], kwargs: Value) -> Result<String, TemplateError> {
    template(source).render(&messages(turns), &options(kwargs))
}

/// A family's template (`training` has tags), and its cases.
pub(crate) fn family(name: &str, training: bool) -> (ChatTemplate, Value) {
    let cases = fixture_json(&format!("chat/{name}.json"));
    let text = |key: &str| cases["special"][key].as_str().map(str::to_owned);
    let special =
        SpecialTokens { bos: text("bos_token"), eos: text("eos_token"), pad: text("pad_token"), unk: None };
    let suffix = if training { "_training" } else { "" };
    let source = std::fs::read_to_string(fixture(&format!("chat/{name}{suffix}.jinja"))).unwrap();
    (ChatTemplate::new(&source, &special).unwrap(), cases)
}

pub(crate) fn case(case: &Value) -> (Vec<Message>, RenderOptions) {
    let options = RenderOptions {
        add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
        ..options(case["kwargs"].clone())
    };
    (serde_json::from_value(case["messages"].clone()).unwrap(), options)
}

/// Families, and how many conversations the template renders and refuses.
const FAMILIES: [(&str, usize, usize); 7] = [
    ("qwen2.5", 22, 0),
    ("qwen3", 44, 0),
    ("llama3.2", 22, 0),
    ("smollm2", 23, 0),
    ("mistral", 22, 1),
    ("phi3", 22, 0),
    ("gemma2", 18, 4),
];

#[test]
fn real_templates_render_and_refuse_as_in_transformers() {
    for (name, rendered, refused) in FAMILIES {
        let (template, cases) = family(name, false);
        let mut seen = (0, 0);
        for one in cases["cases"].as_array().unwrap() {
            let (messages, options) = case(one);
            match (template.render(&messages, &options), one["error"].as_str()) {
                (Ok(text), None) => {
                    assert_eq!(text, one["text"].as_str().unwrap(), "{name} {}", one["conversation"]);
                    seen.0 += 1;
                }
                (Err(TemplateError::Refused { message }), Some(error)) => {
                    assert_eq!(error.strip_prefix("TemplateError: "), Some(message.as_str()), "{name}");
                    seen.1 += 1;
                }
                (ours, theirs) => panic!("{name} {}: {ours:?}, there {theirs:?}", one["conversation"]),
            }
        }
        assert_eq!(seen, (rendered, refused), "{name}");
    }
}

#[test]
fn ids_of_real_tokenizers_are_those_of_transformers() {
    for (name, ..) in FAMILIES {
        let (template, cases) = family(name, false);
        let tokenizer = family_tokenizer(name, &cases);
        for one in cases["cases"].as_array().unwrap().iter().filter(|one| one.get("ids").is_some()) {
            let (messages, options) = case(one);
            let expected: Vec<u32> = serde_json::from_value(one["ids"].clone()).unwrap();
            let text = one["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text, false).unwrap(), expected, "{name} {}", one["conversation"]);
            if options.add_generation_prompt {
                let ids = prompt_ids(&messages, &template, &tokenizer, &options).unwrap();
                assert_eq!(ids, expected, "{name} {}", one["conversation"]);
            }
        }
    }
}

#[test]
fn llama_tells_the_pinned_day_and_qwen3_thinks_or_not() {
    let (llama, cases) = family("llama3.2", false);
    let (messages, given) = case(&cases["cases"][0]);
    assert_eq!(given.kwargs["date_string"], "26 Jul 2024");
    // Without `date_string` the template asks for today, which is the day that the options pin.
    let pinned = llama.render(&messages, &RenderOptions::default()).unwrap();
    assert_eq!(pinned, cases["cases"][0]["text"].as_str().unwrap());
    let date = "2026-11-23".parse::<CivilDate>().unwrap();
    let other = llama.render(&messages, &RenderOptions { date, ..RenderOptions::default() }).unwrap();
    assert_eq!(other, pinned.replace("26 Jul 2024", "23 Nov 2026"));

    let (qwen, _) = family("qwen3", false);
    let ask = |kwargs: Value| {
        let options = RenderOptions { add_generation_prompt: true, ..options(kwargs) };
        qwen.render(&[Message::new("user", "q")], &options).unwrap()
    };
    assert!(ask(json!({})).ends_with("<|im_start|>assistant\n"));
    let quiet = ask(json!({"enable_thinking": false}));
    assert!(quiet.ends_with("<|im_start|>assistant\n<think>\n\n</think>\n\n"), "{quiet}");
}

#[test]
fn blocks_are_trimmed_as_transformers_sets_jinja_up() {
    let source = "{% for m in messages %}\n    {% if m.role == 'user' %}\n  u:{{ m.content }}\n    {% endif %}\n{% endfor %}\nend\n";
    assert_eq!(render(source, &[("user", "hi")], json!({})).unwrap(), "  u:hi\nend");
}

#[test]
fn python_in_templates() {
    let cases = [
        ("{{ messages[0].content.split('</t>')[-1].lstrip('\\n') }}", "b"),
        ("{{ messages[0]['content'].startswith('<t>') }}", "true"),
        ("{{ messages[::-1][0].role }}{{ messages[1:] | length }}", "assistant1"),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "2",
        ),
        (
            "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% endfor %}",
            "assistant",
        ),
        ("{{ 'x' if missing is not defined else 'y' }}{{ tools is none }}", "xtrue"),
        ("{{ {'b': [1, 2.5, 'é<'], 'a': none} | tojson }}", "{\"b\": [1, 2.5, \"é<\"], \"a\": null}"),
        ("{{ {'a': [1]} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ]\n}"),
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        ("{{ bos_token }}{{ eos_token is defined }}", "<s>false"),
        ("{{ messages[0].content | trim | length }}", "10"),
    ];
    for (source, expected) in cases {
        let turns = [("user", "<t>a</t>\nb"), ("assistant", "c")];
        let rendered = render(source, &turns, json!({})).unwrap();
        assert_eq!(rendered.to_lowercase(), expected.to_lowercase(), "{source}");
    }
}

#[test]
fn the_date_is_given_and_variables_win_over_it() {
    let source = "{{ date_string if date_string is defined else strftime_now('%Y-%m-%d') }}";
    let date = "2026-02-03".parse::<CivilDate>().unwrap();
    let options = RenderOptions { date, ..RenderOptions::default() };
    assert_eq!(template(source).render(&[], &options).unwrap(), "2026-02-03");
    assert_eq!(render(source, &[], json!({"date_string": "now"})).unwrap(), "now");
}

#[test]
fn a_refusal_is_told_in_the_words_of_the_template() {
    let source = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}ok";
    let refused = render(source, &[("system", "x")], json!({})).unwrap_err();
    assert!(
        matches!(&refused, TemplateError::Refused { message } if message == "System role not supported"),
        "{refused}"
    );
    assert_eq!(render(source, &[("user", "x")], json!({})).unwrap(), "ok");
}

#[test]
fn broken_and_endless_templates_are_errors() {
    let special = SpecialTokens::default();
    assert!(matches!(ChatTemplate::new("{% for %}", &special), Err(TemplateError::Syntax { .. })));
    let fails = render("{{ messages[0].content.nothing() }}", &[("user", "x")], json!({}));
    assert!(matches!(fails, Err(TemplateError::Render { .. })));
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{{ c }}{% endfor %}{% endfor %}{% endfor %}";
    assert!(matches!(render(endless, &[], json!({})), Err(TemplateError::Render { .. })));
    assert!(matches!(render("{{ strftime_now('%s') }}", &[], json!({})), Err(TemplateError::Render { .. })));
}

#[test]
fn generation_blocks_are_found_and_leave_no_trace() {
    let source = "{% for m in messages %}{% if m.role == 'assistant' %}\n    {%- generation %}\n<{{ m.content }}>\n    {%- endgeneration %}\n{% else %}{{ m.content }}{% endif %}{% endfor %}";
    let template = template(source);
    let turns = messages(&[("user", "é"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]);
    let (text, spans) = template.render_marked(&turns, &RenderOptions::default()).unwrap();
    assert_eq!(text, template.render(&turns, &RenderOptions::default()).unwrap());
    let parts: Vec<&str> = spans.into_iter().map(|span| &text[span]).collect();
    assert_eq!((text.as_str(), parts), ("é<b>c<d>", vec!["<b>", "<d>"]));
    let reserved = messages(&[("user", "\u{10F8A1}")]);
    let refused = template.render_marked(&reserved, &RenderOptions::default());
    assert!(matches!(refused, Err(TemplateError::Reserved { index: 0, .. })));
}
