//! What a person sees and types: plain lines, so that a pipe or a screen reader does as well as a terminal.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use assay_proto::v1;
use serde_json::json;

use crate::print;

const DIMENSIONS: [&str; 5] = ["creativity", "coherence", "depth", "engagement", "quality"];
/// Wide enough to be seen, narrow enough for any terminal.
const RULE: &str = "------------------------------------------------------------";

/// What a person answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A verdict in the form that a model would have given it.
    Verdict(String),
    /// Not now.
    Skip,
    /// No more.
    Stop,
}

pub(super) struct Screen<R> {
    input: R,
}

/// What ends the questions about a pair.
enum End {
    Answer(Answer),
    Broken(io::Error),
}

impl<R: BufRead> Screen<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input }
    }

    /// Shows a presentation.
    pub(super) fn show(&self, shown: &v1::Presentation, number: usize, of: usize) {
        print::line(format!("\n{RULE}\n{number} of {of}\n\nPROMPT\n{}\n", plain(&shown.prompt)));
        for response in &shown.responses {
            print::line(format!("{RULE}\nRESPONSE {}\n{}\n", plain(&response.label), plain(&response.text)));
        }
        print::line(RULE);
    }

    /// Asks for all that a verdict holds.
    pub(super) fn ask(&mut self) -> io::Result<Answer> {
        match self.verdict() {
            Ok(text) => Ok(Answer::Verdict(text)),
            Err(End::Answer(answer)) => Ok(answer),
            Err(End::Broken(error)) => Err(error),
        }
    }

    fn verdict(&mut self) -> Result<String, End> {
        let names = DIMENSIONS.join(", ");
        print::line(format!(
            "s skips this pair, q stops; everything so far is kept. Scores 1 to 5: {names}."
        ));
        let one = self.until("response 1, five scores (4 3 5 4 4):", scores)?;
        let two = self.until("response 2, five scores:", scores)?;
        let winner = self.until("which is better (1, 2 or tie)?", winner)?;
        let confidence = self.until("how sure are you (1 a guess to 5 certain)?", one_to_five)?;
        let why = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let reasoning = self.until("why, in one line:", why)?;
        let scored = |scores: [u8; 5]| DIMENSIONS.into_iter().zip(scores).collect::<BTreeMap<_, _>>();
        let verdict = json!({
            "reasoning": reasoning, "response_1": scored(one), "response_2": scored(two),
            "winner": winner, "confidence": confidence,
        });
        Ok(verdict.to_string())
    }

    /// Asks until the answer can be read.
    fn until<T>(&mut self, question: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, End> {
        loop {
            print::line(question);
            let mut line = String::new();
            if self.input.read_line(&mut line).map_err(End::Broken)? == 0 {
                return Err(End::Answer(Answer::Stop));
            }
            match line.trim() {
                "q" => return Err(End::Answer(Answer::Stop)),
                "s" => return Err(End::Answer(Answer::Skip)),
                text => match read(text) {
                    Some(value) => return Ok(value),
                    None => print::line("that cannot be read; once more:"),
                },
            }
        }
    }
}

fn scores(text: &str) -> Option<[u8; 5]> {
    let numbers: Option<Vec<u8>> =
        text.split([' ', ',']).filter(|word| !word.is_empty()).map(one_to_five).collect();
    numbers?.try_into().ok()
}

fn one_to_five(text: &str) -> Option<u8> {
    text.parse().ok().filter(|number| (1..=5).contains(number))
}

fn winner(text: &str) -> Option<&'static str> {
    match text.to_lowercase().as_str() {
        "1" => Some("1"),
        "2" => Some("2"),
        "t" | "tie" => Some("tie"),
        _ => None,
    }
}

/// Without what a terminal would act upon: a response must not paint the screen.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use assay_judging::people::TEMPLATE;
    use assay_judging::prompt::{Channel, template};
    use assay_judging::records::Choice;
    use assay_judging::verdict;

    use super::*;

    fn typed(text: &str) -> Answer {
        Screen::new(text.as_bytes()).ask().unwrap()
    }

    #[test]
    fn what_is_typed_is_a_verdict_as_a_model_gives_it() {
        let Answer::Verdict(text) = typed("9 9\n4 3 5 4 4\n1,2,3,4,5\nboth\n2\n0\n4\n\nIt is clearer.\n")
        else {
            panic!("no verdict");
        };
        assert_eq!(template(TEMPLATE).unwrap().labels, ["1", "2"], "what the screen shows");
        let verdict = verdict::parse(&text, Channel::Json).unwrap();
        assert_eq!((verdict.choice, verdict.confidence), (Choice::B, Some(4)));
        assert_eq!((verdict.scores_a.depth, verdict.scores_b.quality), (5, 5));
        assert_eq!(verdict.reasoning, "It is clearer.");
    }

    #[test]
    fn skipping_stopping_and_the_end_of_the_input_leave_nothing() {
        assert_eq!(typed("4 4 4 4 4\ns\n"), Answer::Skip);
        assert_eq!(typed("q\n"), Answer::Stop);
        assert_eq!(typed("4 4 4 4 4\n4 4 4 4 4\n1\n"), Answer::Stop);
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{7f}"), "a[2Jb\nc");
    }
}
