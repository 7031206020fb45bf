//! Files and flags that are wrong: each is told with its place and the rule, and leaves nothing behind.

use std::fs;
use std::path::{Path, PathBuf};

use assay_tests::{Need, need};

use crate::world::World;

/// A change to a good folder, the command that must refuse it, and what the refusal says.
struct Case {
    what: &'static str,
    change: fn(&World, &Path),
    args: &'static [&'static str],
    told: &'static [&'static str],
}

const PLAN: &[&str] = &["plan", "matrix.yaml"];
const PLAN_COPY: &[&str] = &["plan", "copy.yaml"];
const IMPORT: &[&str] = &["model", "import", "model.gguf", "imported"];

const MATRICES: &[Case] = &[
    Case {
        what: "no such matrix",
        change: |_, _| (),
        args: &["plan", "none.yaml"],
        told: &["matrix file none.yaml", "No such file"],
    },
    Case {
        what: "a matrix that is a folder",
        change: |_, _| (),
        args: &["plan", "."],
        told: &["matrix file .", "Is a directory"],
    },
    Case {
        what: "not YAML",
        change: |world, _| write(world, "matrix.yaml", "name: [tiny"),
        args: PLAN,
        told: &["matrix.yaml:1:7", "unclosed bracket"],
    },
    Case {
        what: "not UTF-8",
        change: |world, _| fs::write(world.matrix(), [0xff, 0xfe, 0]).unwrap(),
        args: PLAN,
        told: &["matrix file matrix.yaml", "valid UTF-8"],
    },
    Case {
        what: "more rows asked for than there are",
        change: |world, _| replace(world, "matrix.yaml", "train_rows: 12", "train_rows: 1000"),
        args: PLAN,
        told: &["matrix.yaml:5:", "train_rows is 1000", "the file has"],
    },
    Case {
        what: "a variant that is not there",
        change: |_, _| (),
        args: &["plan", "matrix.yaml", "--full"],
        told: &["matrix.yaml", "no variant `full`"],
    },
    Case {
        what: "two variants",
        change: |_, _| (),
        args: &["plan", "matrix.yaml", "--full", "--variant", "large"],
        told: &["cannot be used with", "Usage: assay plan"],
    },
];

const MODELS: &[Case] = &[
    Case {
        what: "no such model folder",
        change: |world, _| model(world, |dir| fs::remove_dir_all(dir).unwrap()),
        args: PLAN_COPY,
        told: &["model `smollm2`", "config.json, model.safetensors, tokenizer.json missing"],
    },
    Case {
        what: "a model without its tokenizer",
        change: |world, _| model(world, |dir| fs::remove_file(dir.join("tokenizer.json")).unwrap()),
        args: PLAN_COPY,
        told: &["not a complete model folder", "tokenizer.json missing", "it needs config.json"],
    },
    Case {
        what: "a model without weights",
        change: |world, _| model(world, |dir| fs::remove_file(dir.join("model.safetensors")).unwrap()),
        args: &["model", "info", "model"],
        told: &["not a complete model folder", "model.safetensors missing"],
    },
    Case {
        what: "a broken config.json",
        change: |world, _| model(world, |dir| fs::write(dir.join("config.json"), "{\"x\":").unwrap()),
        args: PLAN_COPY,
        told: &["model `smollm2`", "config.json is not JSON", "line 1"],
    },
    Case {
        what: "a model of another family",
        change: |world, _| {
            model(world, |dir| {
                let path = dir.join("config.json");
                let text = fs::read_to_string(&path).unwrap();
                fs::write(&path, text.replace("\"llama\"", "\"mamba\"")).unwrap();
            });
        },
        args: PLAN_COPY,
        told: &["model type `mamba` is not supported", "llama"],
    },
    Case {
        what: "a broken tokenizer",
        change: |world, _| model(world, |dir| fs::write(dir.join("tokenizer.json"), "{}").unwrap()),
        args: &["model", "info", "model"],
        told: &["tokenizer.json is not a tokenizer"],
    },
    Case {
        what: "a model without a chat template",
        change: |world, _| model(world, |dir| fs::write(dir.join("tokenizer_config.json"), "{}").unwrap()),
        args: PLAN_COPY,
        told: &["has no chat_template", "instruction-tuned"],
    },
];

const DATA: &[Case] = &[
    Case {
        what: "no such data file",
        change: |world, _| fs::remove_file(world.path("train.jsonl")).unwrap(),
        args: PLAN,
        told: &["data set `philosophy`", "train.jsonl", "No such file"],
    },
    Case {
        what: "an empty data file",
        change: |world, _| write(world, "train.jsonl", ""),
        args: PLAN,
        told: &["data set `philosophy`", "train.jsonl holds no rows"],
    },
    Case {
        what: "a row that is not JSON",
        change: |world, _| write(world, "train.jsonl", "not json\n"),
        args: PLAN,
        told: &["train.jsonl, line 1", "not JSON"],
    },
    Case {
        what: "a row without messages",
        change: |world, _| write(world, "train.jsonl", "{\"id\":\"a\"}\n"),
        args: PLAN,
        told: &["train.jsonl, line 1", "`messages` must be there"],
    },
    Case {
        what: "a row of no messages",
        change: |world, _| write(world, "valid.jsonl", "{\"id\":\"a\",\"messages\":[]}\n"),
        args: PLAN,
        told: &["valid.jsonl, line 1", "`messages` is []"],
    },
    Case {
        what: "an unknown role",
        change: |world, _| {
            write(
                world,
                "valid.jsonl",
                "{\"id\":\"a\",\"messages\":[{\"role\":\"robot\",\"content\":\"x\"}]}\n",
            );
        },
        args: PLAN,
        told: &["valid.jsonl, line 1", "role robot", "system, user and assistant"],
    },
    Case {
        what: "two prompts of one id",
        change: |world, _| {
            let prompts = fs::read_to_string(world.path("prompts.jsonl")).unwrap();
            let first = prompts.lines().next().unwrap();
            write(world, "prompts.jsonl", &format!("{first}\n{first}\n"));
        },
        args: PLAN,
        told: &["prompt set `eval`", "prompts.jsonl, line 2", "already on line 1"],
    },
    Case {
        what: "a prompt without its text",
        change: |world, _| write(world, "prompts.jsonl", "{\"id\":\"a\"}\n"),
        args: PLAN,
        told: &["prompts.jsonl, line 1", "`prompt` must be there"],
    },
];

const IMPORTS: &[Case] = &[
    Case {
        what: "no such GGUF file",
        change: |_, _| (),
        args: IMPORT,
        told: &["cannot read model.gguf", "No such file"],
    },
    Case {
        what: "a file that is not GGUF",
        change: |world, _| write(world, "model.gguf", "this is no model"),
        args: IMPORT,
        told: &["model.gguf is not a usable GGUF file", "not the letters GGUF"],
    },
    Case {
        what: "a GGUF file cut in its metadata",
        change: |world, gguf| cut(gguf, &world.path("model.gguf"), 3000),
        args: IMPORT,
        told: &["model.gguf is not a usable GGUF file", "more than the file can hold"],
    },
    Case {
        what: "a GGUF file cut in its tensors",
        change: |world, gguf| cut(gguf, &world.path("model.gguf"), 30_000_000),
        args: IMPORT,
        told: &["past the end of the file (30000000 bytes)", "cut or corrupt"],
    },
];

#[test]
fn wrong_files_are_told_and_nothing_is_written() {
    let Some(model) = need(Need::Model) else { return };
    let Some(gguf) = need(Need::Gguf) else { return };
    for case in [MATRICES, MODELS, DATA, IMPORTS].into_iter().flatten() {
        let world = World::new(&model);
        copy_model(&world, &model);
        (case.change)(&world, &gguf);
        let before = files(&world);
        let ended = world.assay(case.args);
        assert_eq!(ended.code, Some(2), "{}: {ended:?}", case.what);
        assert!(ended.out.is_empty(), "{}: {}", case.what, ended.out);
        for words in case.told {
            assert!(ended.err.contains(words), "{}: `{words}` is not in {:?}", case.what, ended.err);
        }
        assert_eq!(files(&world), before, "{}", case.what);
    }
}

#[test]
fn a_folder_with_something_else_is_left_as_it_is() {
    let Some(model) = need(Need::Model) else { return };
    let Some(gguf) = need(Need::Gguf) else { return };
    let world = World::new(&model);
    let target = world.path("mine");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("config.json"), "mine").unwrap();
    let before = files(&world);
    let ended = world.assay(&["model", "import", gguf.to_str().unwrap(), "mine"]);
    ended.expect(2);
    assert!(ended.err.contains("mine exists and is not this model (config.json differs)"), "{}", ended.err);
    assert_eq!(files(&world), before);
    assert_eq!(fs::read_to_string(target.join("config.json")).unwrap(), "mine");
}

#[test]
fn wrong_flags_start_nothing() {
    let Some(model) = need(Need::Model) else { return };
    let world = World::new(&model);
    let before = files(&world);
    let cases: [(&[&str], &str); 6] = [
        (&["frobnicate"], "unrecognized subcommand 'frobnicate'"),
        (&["up", "--data-dir", "data", "--threads", "many"], "invalid digit"),
        (&["up", "--data-dir", "data", "--listen", "0.0.0.0:0"], "not a loopback address"),
        (&["up", "--data-dir", "data", "--listen", "nowhere"], "write HOST:PORT"),
        (&["run", "none.yaml", "--data-dir", "data"], "matrix file none.yaml"),
        (&["report", "m-1", "--json", "--markdown"], "cannot be used with"),
    ];
    for (args, told) in cases {
        let ended = world.assay(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(ended.err.contains(told), "{args:?}: {}", ended.err);
    }
    assert_eq!(files(&world), before);
}

fn write(world: &World, name: &str, text: &str) {
    fs::write(world.path(name), text).unwrap();
}

fn replace(world: &World, name: &str, old: &str, new: &str) {
    let text = fs::read_to_string(world.path(name)).unwrap();
    assert!(text.contains(old), "{name} has no `{old}`");
    write(world, name, &text.replace(old, new));
}

fn cut(from: &Path, to: &Path, bytes: usize) {
    fs::write(to, &fs::read(from).unwrap()[..bytes]).unwrap();
}

/// A model's folder that can be spoilt, with `copy.yaml` on it. Nothing here reads the weights, so they are a few bytes.
fn copy_model(world: &World, model: &Path) {
    let dir = world.path("model");
    fs::create_dir(&dir).unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(model.join(name), dir.join(name)).unwrap();
    }
    fs::write(dir.join("model.safetensors"), "weights").unwrap();
    fs::copy(world.matrix(), world.path("copy.yaml")).unwrap();
    replace(world, "copy.yaml", model.to_str().unwrap(), "model");
}

fn model(world: &World, change: fn(&PathBuf)) {
    change(&world.path("model"));
}

/// Every path in the folder.
fn files(world: &World) -> Vec<PathBuf> {
    let mut found = vec![world.path("")];
    let mut next = 0;
    while next < found.len() {
        if found[next].is_dir() {
            found.extend(fs::read_dir(&found[next]).unwrap().map(|entry| entry.unwrap().path()));
        }
        next += 1;
    }
    found.sort();
    found
}
