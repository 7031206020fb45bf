//! Assistant masks: against TRL's training templates, and without tags on templates of several shapes.

use assay_text::mask::{MaskError, Masked, assistant_mask};
use assay_text::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::chat::{case, family};
use crate::support::{CHATML, family_tokenizer, messages, options, template, tokenizer};

/// The text of each run of masked tokens.
fn runs(tokenizer: &Tokenizer, ids: &[u32], mask: &[bool]) -> Vec<String> {
    let runs = ids.iter().zip(mask).collect::<Vec<_>>();
    let runs = runs.split(|(_, masked)| !**masked).filter(|run| !run.is_empty());
    runs.map(|run| tokenizer.decode(&run.iter().map(|(id, _)| **id).collect::<Vec<_>>(), false).unwrap())
        .collect()
}

fn masked(source: &str, turns: &[(&str, &str)], eos: &str, kwargs: Value) -> Vec<String> {
    let tokenizer = tokenizer(None, eos);
    let masked = assistant_mask(&template(source), &tokenizer, &messages(turns), &options(kwargs)).unwrap();
    runs(&tokenizer, &masked.ids, &masked.assistant)
}

/// The mask of each case of a family that has one there, as (conversation, ours, theirs).
fn masks(name: &str, training: bool) -> Vec<(Value, Masked, Vec<u32>, Vec<bool>)> {
    let (template, cases) = family(name, training);
    let tokenizer = family_tokenizer(name, &cases);
    let masked = cases["cases"].as_array().unwrap().iter().filter(|one| one.get("assistant_mask").is_some());
    masked
        .map(|one| {
            let (messages, options) = case(one);
            let ours = assistant_mask(&template, &tokenizer, &messages, &options).unwrap();
            let ids = one.get("training_ids").unwrap_or(&one["ids"]);
            let mask: Vec<u8> = serde_json::from_value(one["assistant_mask"].clone()).unwrap();
            let mask = mask.into_iter().map(|bit| bit == 1).collect();
            (one["conversation"].clone(), ours, serde_json::from_value(ids.clone()).unwrap(), mask)
        })
        .collect()
}

#[test]
fn tagged_templates_mask_what_trl_masks() {
    for (name, count) in [("qwen2.5", 11), ("qwen3", 22), ("gemma2", 9)] {
        let masks = masks(name, true);
        assert_eq!(masks.len(), count);
        for (conversation, ours, ids, mask) in masks {
            assert_eq!((ours.ids, ours.assistant), (ids, mask), "{name} {conversation}");
        }
    }
}

#[test]
fn templates_without_tags_mask_what_transformers_masks_with_tags() {
    for name in ["llama3.2", "smollm2", "mistral"] {
        let masks = masks(name, false);
        assert_eq!(masks.len(), 11);
        for (conversation, ours, ids, mask) in masks {
            assert_eq!((ours.ids, ours.assistant), (ids, mask), "{name} {conversation}");
        }
    }
}

#[test]
fn tags_and_search_agree_where_a_family_has_both() {
    let tokenizer = tokenizer(None, "<|im_end|>");
    for (name, count) in [("qwen2.5", 11), ("phi3", 11), ("gemma2", 9)] {
        let ((plain, cases), (tagged, _)) = (family(name, false), family(name, true));
        let whole = |one: &&Value| one["add_generation_prompt"] == false && one.get("error").is_none();
        let mut seen = 0;
        for one in cases["cases"].as_array().unwrap().iter().filter(whole) {
            let (messages, options) = case(one);
            let trained = |template| {
                let masked = assistant_mask(template, &tokenizer, &messages, &options).unwrap();
                let runs = runs(&tokenizer, &masked.ids, &masked.assistant);
                // TRL's tags hold the line's ends around a turn as well, and in Phi-3's the end of the whole text.
                let core = |run: &String| run.trim_end_matches("<|eot_id|>").trim_matches('\n').to_owned();
                runs.iter().map(core).collect::<Vec<_>>()
            };
            assert_eq!(trained(&plain), trained(&tagged), "{name} {}", one["conversation"]);
            seen += 1;
        }
        assert_eq!(seen, count, "{name}");
    }
}

#[test]
fn contents_and_their_end_tokens_are_found_without_tags() {
    let turns = [
        ("system", "s"),
        ("user", "assistant\nhi<|im_end|>"),
        ("assistant", "  one "),
        ("user", "one"),
        ("assistant", "one"),
    ];
    assert_eq!(masked(CHATML, &turns, "<|im_end|>", json!({})), ["  one <|im_end|>", "one<|im_end|>"]);
}

#[test]
fn trimmed_contents_headers_and_missing_end_tokens() {
    let llama = "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
    let turns = [("user", " q "), ("assistant", " a\n"), ("user", "a"), ("assistant", "\nb")];
    assert_eq!(masked(llama, &turns, "<|eot_id|>", json!({})), ["a<|eot_id|>", "b<|eot_id|>"]);
    // Gemma's end of turn is not the end-of-sequence token, and the assistant has another name.
    let gemma = "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}";
    assert_eq!(masked(gemma, &turns, "<s>", json!({})), ["a<end_of_turn>", "b<end_of_turn>"]);
    // Without an end token the next turn's header is not taken for one.
    let open = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    assert_eq!(
        masked(
            open,
            &[("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b")],
            "<s>",
            json!({})
        ),
        ["a", "b"]
    );
    // A space before the end token is part of what the model has to write.
    let spaced = "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + ' <s>' }}{% endif %}{% endfor %}";
    assert_eq!(masked(spaced, &[("user", "q"), ("assistant", "a")], "<s>", json!({})), ["a <s>"]);
}

#[test]
fn thinking_blocks_that_a_template_writes_or_drops() {
    let (template, _) = family("qwen3", false);
    let tokenizer = tokenizer(None, "<|im_end|>");
    let run = |turns: &[(&str, &str)], kwargs: Value| {
        let masked = assistant_mask(&template, &tokenizer, &messages(turns), &options(kwargs)).unwrap();
        runs(&tokenizer, &masked.ids, &masked.assistant)
    };
    let plain = [("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b")];
    // What the generation prompt holds is not trained; an empty block that it does not hold is.
    assert_eq!(run(&plain, json!({})), ["a<|im_end|>", "<think>\n\n</think>\n\nb<|im_end|>"]);
    assert_eq!(run(&plain, json!({"enable_thinking": false})), ["a<|im_end|>", "b<|im_end|>"]);
    let thought = [
        ("user", "4"),
        ("assistant", "<think>\nadd\n</think>\n\n4"),
        ("user", "sure?"),
        ("assistant", "<think>\nyes\n</think>\n\nYes."),
    ];
    assert_eq!(run(&thought, json!({})), ["4<|im_end|>", "<think>\nyes\n</think>\n\nYes.<|im_end|>"]);
}

#[test]
fn a_template_that_changes_contents_is_an_error_not_a_wrong_mask() {
    let source = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content | upper + '<|im_end|>' }}{% endfor %}";
    let tokenizer = tokenizer(None, "<|im_end|>");
    let turns = messages(&[("user", "quiet"), ("assistant", "very quiet")]);
    let error = assistant_mask(&template(source), &tokenizer, &turns, &options(json!({}))).unwrap_err();
    assert!(matches!(error, MaskError::NotFound { turn: 1, .. }), "{error}");
    assert!(error.to_string().contains("{% generation %}"), "{error}");
}
