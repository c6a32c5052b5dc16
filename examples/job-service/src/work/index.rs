//! A list of skills: the contents of a folder of `SKILL.md` files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fourway_core::{BoxCall, Call, Runtime, cancel};
use serde::Serialize;
use skillkit::{Problem, SIZE_LIMIT, Skill, Skills};

use super::{Error, Progress, Toolbox, several, share};

/// A folder of skills, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Index {
    /// How many skills there are.
    pub skills: u64,
    /// The first of them, by name; at most 100.
    pub entries: Vec<Entry>,
    /// How many files have a problem.
    pub problems: u64,
    /// The problems of the first of those files, at most 100.
    pub reasons: Vec<String>,
}

/// A skill in an [`Index`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its purpose.
    pub description: String,
    /// How many words its text has.
    pub words: u64,
}

/// How many skills and problems a report lists.
const LISTED: usize = 100;

impl<R: Runtime> Toolbox<R> {
    /// Reads one file after another. Its body blocks.
    pub fn index(&self, folder: String, progress: impl Progress) -> BoxCall<Result<Index, Error>> {
        let root = self.root.clone();
        let call = self.rt.call_blocking(move || {
            let folder = root.resolve(&folder)?;
            let paths = skillkit::discover(&folder).map_err(Error::Skills)?;
            let mut index = Builder::new(&folder, paths.len(), progress);
            for path in paths {
                cancel::check()?;
                index.add(skillkit::read(&path, SIZE_LIMIT));
            }
            Ok(index.finish())
        });
        call.boxed()
    }

    /// Reads several files at once. Its body is async.
    pub fn index_async(
        &self,
        folder: String,
        progress: impl Progress,
    ) -> BoxCall<Result<Index, Error>> {
        let (rt, root) = (self.rt.clone(), self.root.clone());
        let call = self.rt.call_with(async move || {
            let folder = rt.call_blocking(move || root.resolve(&folder)).await?;
            let skills = Skills::new(rt, folder.clone());
            let paths = skills.discover().await.map_err(Error::Skills)?;
            let mut index = Builder::new(&folder, paths.len(), progress);
            let read = |_, skill| {
                index.add(skill);
                Ok(())
            };
            several(paths, |path| skills.parse(path), read).await?;
            Ok(index.finish())
        });
        call.boxed()
    }
}

struct Builder<P> {
    folder: PathBuf,
    files: u64,
    read: u64,
    skills: BTreeMap<String, Entry>,
    problems: Vec<Problem>,
    progress: P,
}

impl<P: Progress> Builder<P> {
    fn new(folder: &Path, files: usize, progress: P) -> Self {
        progress.message(&format!("{files} files found"));
        Self {
            folder: folder.to_owned(),
            files: files as u64,
            read: 0,
            skills: BTreeMap::new(),
            problems: Vec::new(),
            progress,
        }
    }

    fn add(&mut self, skill: Result<Skill, Problem>) {
        self.read += 1;
        match skill {
            Ok(skill) => {
                let name = skill.name;
                let entry = Entry {
                    name: name.clone(),
                    description: skill.description,
                    words: skill.body.split_whitespace().count() as u64,
                };
                // Of two skills with one name, the first in the order of the paths.
                self.skills.entry(name).or_insert(entry);
                self.progress.count("skills", 1);
            }
            Err(problem) => {
                self.problems.push(problem);
                self.progress.count("problems", 1);
            }
        }
        self.progress.fraction(share(self.read, self.files));
    }

    fn finish(self) -> Index {
        let reason = |problem: &Problem| {
            let path = problem.path.strip_prefix(&self.folder);
            let path = path.unwrap_or(&problem.path).display();
            format!("{path}:{}: {}", problem.line, problem.reason)
        };
        self.progress.fraction(1.0);
        Index {
            skills: self.skills.len() as u64,
            problems: self.problems.len() as u64,
            reasons: self.problems.iter().take(LISTED).map(reason).collect(),
            entries: self.skills.into_values().take(LISTED).collect(),
        }
    }
}
