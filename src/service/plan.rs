//! Which pipelines the files ask for, and which files are refused: a pure decision.
//!
//! A pipeline is known by its name. What runs has the first claim on its group: a file that is refused, broken or changed
//! in a way that its dataset can't follow leaves the definition that runs in force.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::board::Problem;
use crate::model::Pipeline;

/// A pipeline file, as it was read.
pub(super) struct Found {
    pub(super) file: PathBuf,
    /// The pipeline, or the report of what is wrong with the file.
    pub(super) read: Result<Pipeline, String>,
}

/// A pipeline as it should be from now on, and the file that says so.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) file: PathBuf,
    pub(super) pipeline: Pipeline,
}

/// The outcome.
#[derive(Default)]
pub(super) struct Plan {
    /// All pipelines, by name.
    pub(super) members: BTreeMap<String, Member>,
    /// What is wrong, in the files' order.
    pub(super) problems: Vec<Problem>,
}

/// Makes the plan for the files that were `found`. `known` are the pipelines of the plan before; `fits` says why a pipeline
/// can't go on with its dataset.
pub(super) fn plan(
    found: Vec<Found>,
    known: &BTreeMap<String, Member>,
    fits: impl Fn(&Pipeline) -> Result<(), String>,
) -> Plan {
    let mut plan = Plan::default();
    let mut good = Vec::new();
    // What is refused for its own sake comes first: what was in force before keeps its group.
    for Found { file, read } in found {
        let read = read.and_then(|pipeline| fits(&pipeline).map(|()| pipeline));
        match read {
            Ok(pipeline) => good.push(Member { file, pipeline }),
            Err(text) => plan.refuse(&file, known, text),
        }
    }
    // Then what is as it was, and what is known: nobody else takes its name or group. The sort is stable.
    good.sort_by_key(|Member { file, pipeline }| match known.get(&pipeline.name) {
        Some(before) if before.file == *file && before.pipeline.fingerprint == pipeline.fingerprint => 0,
        Some(before) if before.file == *file => 1,
        Some(_) => 2,
        None => 3,
    });
    for member in good {
        match plan.clash(&member.pipeline) {
            None => drop(plan.members.insert(member.pipeline.name.clone(), member)),
            Some(text) => plan.refuse(&member.file, known, text),
        }
    }
    plan.problems.sort_by(|one, other| one.file.cmp(&other.file));
    plan
}

impl Plan {
    /// Whose name, dataset or group a pipeline would take.
    fn clash(&self, pipeline: &Pipeline) -> Option<String> {
        let name = &pipeline.name;
        if let Some(other) = self.members.get(name) {
            return Some(format!("{} has a pipeline named {name:?}, too; rename one", other.file.display()));
        }
        self.members.values().find_map(|other| {
            let words = pipeline.clash(&other.pipeline)?;
            Some(format!("{words} (the other one is in {})", other.file.display()))
        })
    }

    /// A file says something that can't be: what it said before stays in force, unless that can't be any more, either.
    fn refuse(&mut self, file: &Path, known: &BTreeMap<String, Member>, text: String) {
        let before = known.values().find(|member| member.file == file);
        let kept = before.filter(|before| self.clash(&before.pipeline).is_none());
        let pipeline = kept.map(|kept| kept.pipeline.name.clone());
        if let Some(Member { pipeline, .. }) = kept {
            let kept = Member { file: file.to_owned(), pipeline: pipeline.clone() };
            self.members.insert(pipeline.name.clone(), kept);
        }
        self.problems.push(Problem { file: file.to_owned(), pipeline, text });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A pipeline of this name and group, whose text ends in a comment.
    fn pipeline(name: &str, group: &str, comment: &str) -> Pipeline {
        let text = include_str!("../../pipelines/air_quality.toml");
        let text = text.replacen("name = \"air-quality\"", &format!("name = \"{name}\""), 1);
        let text = text.replacen("[source]", &format!("[source]\ngroup = \"{group}\""), 1) + "\n# " + comment;
        Pipeline::parse("test.toml", &text, &|_| None).unwrap()
    }

    /// `file: name group comment`, or `file: !` for a broken one.
    fn found(lines: &[&str]) -> Vec<Found> {
        let read = |line: &&str| {
            let (file, rest) = line.split_once(": ").unwrap();
            let words: Vec<_> = rest.split(' ').collect();
            let read = match words[..] {
                [name, group, comment] => Ok(pipeline(name, group, comment)),
                _ => Err("broken".to_owned()),
            };
            Found { file: file.into(), read }
        };
        lines.iter().map(read).collect()
    }

    fn show(plan: &Plan) -> String {
        let member = |member: &Member| {
            let Pipeline { name, source, text, .. } = &member.pipeline;
            let comment = text.rsplit(' ').next().unwrap();
            format!("{} {name} {} {comment}", member.file.display(), source.group)
        };
        let refused = |problem: &Problem| format!("!{}", problem.file.display());
        plan.members.values().map(member).chain(plan.problems.iter().map(refused)).collect::<Vec<_>>().join(", ")
    }

    /// What comes of files that are there first, and then of those that are there after it.
    #[track_caller]
    fn check(first: &[&str], then: &[&str], expected: &str) {
        let before = plan(found(first), &BTreeMap::new(), |_| Ok(()));
        // What is not to fit says so.
        let fits = |pipeline: &Pipeline| {
            if pipeline.text.ends_with("unfit") { Err("another column".to_owned()) } else { Ok(()) }
        };
        assert_eq!(show(&plan(found(then), &before.members, fits)), expected);
    }

    #[test]
    fn files_become_pipelines() {
        check(&[], &["a: one g 1", "b: two h 1"], "a one g 1, b two h 1");
        check(&["a: one g 1"], &["a: one g 2"], "a one g 2");
        check(&["a: one g 1", "b: two h 1"], &["b: two h 1"], "b two h 1");
    }

    #[test]
    fn a_broken_file_stops_nothing() {
        check(&[], &["a: !", "b: two h 1"], "b two h 1, !a");
        check(&["a: one g 1", "b: two h 1"], &["a: !", "b: two h 2"], "a one g 1, b two h 2, !a");
    }

    #[test]
    fn what_its_dataset_cannot_follow_is_refused() {
        check(&["a: one g 1"], &["a: one g unfit"], "a one g 1, !a");
        check(&[], &["a: one g unfit"], "!a");
    }

    #[test]
    fn names_and_groups_belong_to_one() {
        check(&[], &["a: one g 1", "b: one h 1"], "a one g 1, !b");
        check(&[], &["a: one g 1", "b: two g 1"], "a one g 1, !b");
        check(&["b: one g 1"], &["a: one h 1", "b: one g 1"], "b one g 1, !a");
        check(&["b: two g 1"], &["a: one g 1", "b: two g 1"], "b two g 1, !a");
        check(&["a: one g 1", "b: two h 1"], &["a: one h 2", "b: two h 1"], "a one g 1, b two h 1, !a");
    }

    #[test]
    fn no_dataset_is_inside_another() {
        let inside = |name: &str, path: &str| {
            let text = pipeline(name, name, "x").text.replacen("\"processed_data\"", &format!("{path:?}"), 1);
            let read = Pipeline::parse("test.toml", &text, &|_| None).map_err(|broken| broken.plain_report());
            Found { file: name.into(), read }
        };
        let plan = |found| show(&plan(found, &BTreeMap::new(), |_| Ok(())));
        assert_eq!(plan(vec![inside("a", "out"), inside("data", "out/a")]), "a a a x, !data");
        assert_eq!(plan(vec![inside("a", "out/b/c"), inside("b", "./out")]), "a a a x, !b");
        assert_eq!(plan(vec![inside("a", "out"), inside("ab", "out")]), "a a a x, ab ab ab x");
    }

    #[test]
    fn a_renamed_file_is_the_same_pipeline() {
        check(&["a: one g 1"], &["z: one g 1"], "z one g 1");
    }

    #[test]
    fn groups_pass_on_in_one_step() {
        check(&["a: one g 1"], &["a: two g 1"], "a two g 1");
        check(&["a: one g 1"], &["a: one h 2", "b: two g 1"], "a one h 2, b two g 1");
        // The edit that would give the group up is refused.
        check(&["b: one g 1"], &["a: two g 1", "b: one h unfit"], "b one g 1, !a, !b");
    }
}
