//! Models of the Hub as the `assay` process fetches them: what its user reads where the Hub refuses or lies, that a download which
//! broke off goes on in the next command, and where the token is not.

use std::fs;
use std::path::Path;

use assay_tests::{Need, need};

use crate::hub_server::{Server, TOKEN, first_of};
use crate::world::{Ended, World};

/// A matrix on a model of a Hub that has the demo's files, with weights that no plan reads.
struct Place {
    hub: Server,
    world: World,
}

impl Place {
    fn new(model: &Path) -> Self {
        let (hub, world) = (Server::start(), World::new(model));
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
            let bytes = fs::read(model.join(name)).unwrap();
            hub.set(|world| drop(world.files.insert(name.to_owned(), (bytes, false))));
        }
        // Fetched here, as what is tested is.
        world.change_matrix(&format!("path: {}", model.display()), "hub: org/tiny, upload: true");
        Self { hub, world }
    }

    /// `assay plan` with this token.
    fn plan(&self, token: Option<&str>) -> Ended {
        let mut command = self.world.command(&["plan", "matrix.yaml"]);
        command.env_remove("HF_TOKEN").envs(token.map(|token| ("HF_TOKEN", token)));
        command.env("HF_ENDPOINT", &self.hub.url).env("ASSAY_HUB_CACHE", self.world.path("hub"));
        Ended::of(command.output().unwrap())
    }

    /// That it ended with this word to its user, and without the token.
    #[track_caller]
    fn refused(&self, token: Option<&str>, words: &[&str]) {
        let ended = self.plan(token);
        assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
        assert!(words.iter().all(|word| ended.err.contains(word)), "{words:?} are not all in: {}", ended.err);
        assert!(!ended.err.contains("hf_") && !ended.err.contains("panicked"), "{}", ended.err);
    }
}

#[test]
fn refusals_of_the_hub_say_what_to_do() {
    let Some(model) = need(Need::Model) else { return };
    let place = Place::new(&model);
    place.hub.set(|world| world.gated = true);
    let gated = ["does not give org/tiny", "(401)", "accept its terms on its page and set HF_TOKEN"];
    place.refused(None, &gated);
    place.refused(Some("hf_another"), &gated);
    place.hub.set(|world| (world.gated, world.answers) = (false, vec![("/resolve/", 403)]));
    place.refused(None, &["does not give org/tiny", "(403)", "set HF_TOKEN"]);
    place.hub.set(|world| world.answers = vec![("/api/", 404)]);
    place.refused(None, &["the Hub has no org/tiny@main: check name and revision"]);
    place.hub.set(|world| world.lies = true);
    place.refused(None, &["model.safetensors", "the Hub lists SHA-256 ", "nothing of it is kept"]);
}

#[test]
fn a_download_that_broke_off_goes_on_in_the_next_command_and_the_token_stays_with_the_hub() {
    let Some(model) = need(Need::Model) else { return };
    let place = Place::new(&model);
    // As often as a file is tried; the Hub names no pause.
    let busy = vec![("/resolve/", 503); 8];
    place.hub.set(|world| (world.gated, world.cuts, world.after_cut) = (true, vec![100_000], busy));
    place.refused(Some(TOKEN), &["model.safetensors", "could not be had", "the last: status 503"]);
    place.hub.seen();

    let ended = place.plan(Some(TOKEN));
    ended.expect(0);
    assert!(ended.out.contains("smollm2"), "{}", ended.out);
    let weights: Vec<_> = place.hub.seen().into_iter().filter(|(host, ..)| *host == "storage").collect();
    assert!(matches!(&weights[..], [(_, _, range)] if first_of(range.as_deref()) > 0), "{weights:?}");
    // Now all is there: the branch is looked up, and nothing is fetched.
    place.plan(Some(TOKEN)).expect(0);
    assert_eq!(place.hub.seen().len(), 1);

    assert!(!place.hub.world.lock().unwrap().leaked, "the token went to another host");
    assert!(!(ended.out + &ended.err).contains(TOKEN));
    assert!(!holds(&place.world.path("."), TOKEN, 0), "the token is in a file");
}

/// Whether a file below holds a text. Files of this many bytes are weights, whose digest was checked.
pub(crate) fn holds(folder: &Path, text: &str, weights_bytes: u64) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => holds(&path, text, weights_bytes),
            false if fs::metadata(&path).is_ok_and(|found| found.len() == weights_bytes) => false,
            false => fs::read(&path).unwrap().windows(text.len()).any(|part| part == text.as_bytes()),
        }
    })
}
