//! Where models and data sets come from: a folder, or a repository of the Hub at a revision.

use crate::matrix::{DataSet, Model};
use crate::origin::is_repository;

/// What is wrong with one field.
pub(super) struct Wrong {
    pub(super) field: &'static str,
    pub(super) what: String,
    pub(super) rule: String,
}

pub(super) fn of_model(model: &Model) -> Vec<Wrong> {
    let noun = format!("model `{}`", model.name);
    let mut wrong = of_hub(&noun, model.hub.as_deref(), model.revision.as_deref());
    let rule = || String::from("one of them is needed");
    match (&model.path, &model.hub) {
        (None, None) => {
            wrong.push(Wrong {
                field: "name",
                what: format!("{noun} has neither `path` nor `hub`"),
                rule: rule(),
            });
        }
        (Some(_), Some(_)) => {
            wrong.push(Wrong {
                field: "hub",
                what: format!("{noun} has both `path` and `hub`"),
                rule: rule(),
            });
        }
        (Some(_), None) | (None, Some(_)) => {}
    }
    if model.upload && model.hub.is_none() {
        let what = format!("{noun} has `upload` and no `hub`");
        let rule = String::from("leave it out: a folder's files are always uploaded");
        wrong.push(Wrong { field: "upload", what, rule });
    }
    if let Some(date) = model.date.as_deref().filter(|date| !is_day(date)) {
        let what = format!("the date of {noun} is `{date}`");
        wrong.push(Wrong { field: "date", what, rule: String::from("write YYYY-MM-DD, such as 2024-07-26") });
    }
    wrong
}

pub(super) fn of_data(set: &DataSet) -> Vec<Wrong> {
    of_hub(&format!("data set `{}`", set.name), set.hub.as_deref(), set.revision.as_deref())
}

fn of_hub(noun: &str, hub: Option<&str>, revision: Option<&str>) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    if let Some(hub) = hub.filter(|hub| !is_repository(hub)) {
        let what = format!("{noun} has the hub repository `{hub}`");
        wrong.push(Wrong { field: "hub", what, rule: String::from("write `organisation/name`") });
    }
    if let (Some(revision), None) = (revision, hub) {
        let what = format!("{noun} has the revision `{revision}` and no `hub`");
        let rule = String::from("name the repository or leave it out");
        wrong.push(Wrong { field: "revision", what, rule });
    }
    wrong
}

/// The form of a day; whether the calendar has it, the reader of templates knows.
fn is_day(text: &str) -> bool {
    let form = |(index, byte): (usize, u8)| {
        if matches!(index, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() }
    };
    text.len() == 10 && text.bytes().enumerate().all(form)
}
