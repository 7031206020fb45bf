//! Training rows: ids, labels, cuts, and the quirks of the method's own software.

use assay_text::chat::RenderOptions;
use assay_text::rows::{Conversation, IGNORED, LossOn, RowSettings, prefilled_ids, prompt_ids, training_row};

use crate::support::{CHATML, messages, template, tokenizer};

fn settings(loss_on: LossOn, max_length: usize, reference_quirks: bool) -> RowSettings {
    RowSettings { max_length, loss_on, reference_quirks, render: RenderOptions::default() }
}

fn conversation() -> Conversation {
    Conversation {
        id: "c".to_owned(),
        domain: None,
        messages: messages(&[("user", "q"), ("assistant", "a")]),
    }
}

const TEXT: &str = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n";

#[test]
fn all_tokens_are_those_of_the_rendered_text() {
    let tokenizer = tokenizer(Some("<s>"), "<|im_end|>");
    let row =
        training_row(&conversation(), &template(CHATML), &tokenizer, &settings(LossOn::All, 512, false))
            .unwrap();
    assert_eq!(row.ids, tokenizer.encode(TEXT, false).unwrap());
    assert_eq!(row.labels(), row.ids.iter().map(|id| i64::from(*id)).collect::<Vec<_>>());
    assert_eq!((row.predicted(), row.is_cut()), (row.ids.len() - 1, false));
    // The filler of this tokenizer ends turns too: only places that padding fills would be left out, and there are none.
    assert!(row.labels().contains(&i64::from(tokenizer.pad_id())));
}

#[test]
fn assistant_rows_train_content_and_end_only() {
    let tokenizer = tokenizer(None, "<|im_end|>");
    let row = training_row(
        &conversation(),
        &template(CHATML),
        &tokenizer,
        &settings(LossOn::Assistant, 512, false),
    )
    .unwrap();
    let trained: Vec<i64> = row.labels().into_iter().filter(|label| *label != IGNORED).collect();
    assert_eq!((trained, row.predicted()), (vec![97, 257], 2));
    assert_eq!(row.labels().len(), row.ids.len());
}

#[test]
fn rows_are_cut_on_the_right() {
    let tokenizer = tokenizer(None, "<|im_end|>");
    for loss_on in [LossOn::All, LossOn::Assistant] {
        let whole =
            training_row(&conversation(), &template(CHATML), &tokenizer, &settings(loss_on, 512, false))
                .unwrap();
        let cut = training_row(&conversation(), &template(CHATML), &tokenizer, &settings(loss_on, 10, false))
            .unwrap();
        assert_eq!((cut.ids.as_slice(), cut.labels()), (&whole.ids[..10], whole.labels()[..10].to_vec()));
        assert_eq!((cut.full_length, cut.is_cut()), (whole.ids.len(), true));
    }
    let unanswered =
        training_row(&conversation(), &template(CHATML), &tokenizer, &settings(LossOn::Assistant, 10, false));
    assert_eq!(unanswered.unwrap().predicted(), 0);
}

#[test]
fn quirks_double_the_first_token_and_append_an_end() {
    let tokenizer = tokenizer(Some("<s>"), "<|im_end|>");
    let with_bos = format!("{{{{ bos_token }}}}{CHATML}");
    let quirk =
        training_row(&conversation(), &template(&with_bos), &tokenizer, &settings(LossOn::All, 512, true))
            .unwrap();
    let plain =
        training_row(&conversation(), &template(&with_bos), &tokenizer, &settings(LossOn::All, 512, false))
            .unwrap();
    assert_eq!(plain.ids[..2], [258, 256]);
    assert_eq!(quirk.ids, [&[258], plain.ids.as_slice(), &[257]].concat());
    // The cut comes last and may take the appended token away.
    let cut = settings(LossOn::All, plain.ids.len() + 1, true);
    let cut = training_row(&conversation(), &template(&with_bos), &tokenizer, &cut).unwrap();
    assert_eq!(cut.ids, quirk.ids[..quirk.ids.len() - 1]);
    // A text that ends with the token gets no other.
    let ending = training_row(
        &conversation(),
        &template("{% for m in messages %}{{ m.content }}{% endfor %}<|im_end|>"),
        &tokenizer,
        &settings(LossOn::All, 512, true),
    );
    assert_eq!(ending.unwrap().ids, [258, 113, 97, 257]);
}

#[test]
fn prompts_end_with_the_header_and_maybe_a_begun_answer() {
    let tokenizer = tokenizer(Some("<s>"), "<|im_end|>");
    let turns = messages(&[("user", "q")]);
    let prompt = prompt_ids(&turns, &template(CHATML), &tokenizer, &RenderOptions::default()).unwrap();
    let text = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(prompt, tokenizer.encode(text, false).unwrap());
    let begun =
        prefilled_ids(&turns, "Answer:", &template(CHATML), &tokenizer, &RenderOptions::default()).unwrap();
    assert_eq!(begun, [prompt, tokenizer.encode("Answer:", false).unwrap()].concat());
}
