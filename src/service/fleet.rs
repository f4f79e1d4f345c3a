//! All pipelines of a folder: reads their files, gives each pipeline its keeper, and shares memory among them.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt as _, Addr, AsyncContext as _, Context, Handler, Message, ResponseFuture, WrapFuture as _,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::board::{Board, Phase, Stage};
use super::keeper::{Command, Define, FlushPipeline, Keeper, Leave, ShareMemory, Shared, Want};
use super::plan::{Found, Member, Plan, plan};
use crate::base::panics;
use crate::base::words::chain;
use crate::engine::fits_its_dataset;
use crate::engine::topology::Arbiters;
use crate::ledger::LedgerError;
use crate::model::{Pipeline, Restart};
use crate::settings;
use crate::settings::Service;

/// How often it is looked whether pipeline files have changed. They are read, not watched: notifications don't come from
/// network filesystems, nor for all ways in which containers change a mounted file.
const LOOK: Duration = Duration::from_secs(2);

/// Keeps the pipelines of a folder.
pub struct Fleet {
    folder: PathBuf,
    shared: Arc<Shared>,
    memory: usize,
    keepers: BTreeMap<String, Kept>,
    /// What people want of pipelines, also of those whose files are gone for a while.
    wanted: BTreeMap<String, Command>,
    /// The files' content when they were last read.
    seen: Files,
    reading: bool,
    /// Who waits for the files to be read again.
    waiting: Vec<oneshot::Sender<Result<Reloaded, String>>>,
    /// Who waits for all pipelines to have ended, and whether they committed everything.
    ending: Option<oneshot::Sender<bool>>,
    all_committed: bool,
}

/// A pipeline and its keeper.
struct Kept {
    keeper: Addr<Keeper>,
    /// Its part of the plan; none once it is to leave.
    member: Option<Member>,
}

/// Pipeline files and a digest of each one's text; none of one that can't be read.
type Files = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// Reads the pipeline files again; answered when every change has been passed on.
#[derive(Debug, Message)]
#[rtype(result = "Result<Reloaded, String>")]
pub struct Reload;

/// What reading the files again changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reloaded {
    /// Pipelines that are new.
    pub added: Vec<String>,
    /// Pipelines that have another definition now: each commits what it has, and goes on from its ledger.
    pub changed: Vec<String>,
    /// Pipelines whose file is gone: each commits what it has, and ends.
    pub removed: Vec<String>,
    /// Pipelines that nothing has changed for: they run on.
    pub unchanged: Vec<String>,
    /// Files that were refused.
    pub refused: Vec<String>,
}

/// Ends every pipeline in order; answered when all have left their groups: whether all was committed that was read.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct Shutdown;

/// Are you there?
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Ping;

/// What a person wants of a pipeline; false if there is none of that name.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub(super) struct Order {
    pub(super) pipeline: String,
    pub(super) command: Command,
}

/// Commit everything that a pipeline has read; none if there is no such pipeline.
#[derive(Debug, Message)]
#[rtype(result = "Option<Result<bool, Phase>>")]
pub(super) struct FlushOf(pub(super) String);

/// Keeper → Fleet: the keeper has ended, because it was to leave or because of a bug.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Left {
    pub(super) pipeline: String,
    /// Whether everything was committed that was read.
    pub(super) committed: bool,
}

impl Fleet {
    /// Of the pipelines in `folder`; it reads them when it starts.
    pub fn new(folder: PathBuf, settings: &Service, board: Board) -> Self {
        let shared = Shared {
            board,
            arbiters: Arbiters::start(),
            restarts: Restart { for_ever: true, ..settings.restart },
            drain: settings.limits.drain,
            memory: AtomicUsize::new(settings.limits.memory),
            instance: settings.instance.clone(),
        };
        Fleet {
            folder,
            shared: Arc::new(shared),
            memory: settings.limits.memory,
            keepers: BTreeMap::new(),
            wanted: BTreeMap::new(),
            seen: Files::new(),
            reading: false,
            waiting: Vec::new(),
            ending: None,
            all_committed: true,
        }
    }

    /// Reads the files, and goes on with them: whatever they say, or only `if_changed`.
    fn read(&mut self, if_changed: bool, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.reading, true) {
            return;
        }
        // Whoever asks from here on wants the files as they are then.
        let asked = std::mem::take(&mut self.waiting);
        let if_changed = if_changed && asked.is_empty();
        let (folder, seen) = (self.folder.clone(), self.seen.clone());
        let known: BTreeMap<_, _> = self.plan().map(|(name, member)| (name.clone(), member.clone())).collect();
        let read = tokio::task::spawn_blocking(move || -> Result<_, String> {
            let files = read_files(&folder).map_err(|error| format!("{} can't be read: {error}", folder.display()))?;
            Ok((!if_changed || files != seen).then(|| (make_plan(&files, &known), files)))
        });
        ctx.spawn(read.into_actor(self).map(move |read, fleet, ctx| {
            fleet.reading = false;
            if fleet.ending.is_some() {
                return;
            }
            let read = read.unwrap_or_else(|panic| Err(format!("{panic}; {}", panics::blame())));
            let reloaded = match read {
                Ok(Some((plan, files))) => {
                    fleet.seen = files;
                    Ok(fleet.follow(plan, ctx))
                }
                Ok(None) => Ok(Reloaded::default()),
                Err(reason) => {
                    fleet.unreadable(&reason);
                    Err(reason)
                }
            };
            asked.into_iter().for_each(|waiting| drop(waiting.send(reloaded.clone())));
            if !fleet.waiting.is_empty() {
                fleet.read(false, ctx);
            }
        }));
    }

    /// The folder can't be read: nothing is known of changes, so nothing is changed.
    fn unreadable(&mut self, reason: &str) {
        let unreadable = Stage::Unreadable(reason.to_owned());
        if self.shared.board.stage() != unreadable {
            tracing::error!(reason, "the pipelines run on as they are");
            self.shared.board.set_stage(unreadable);
        }
    }

    fn plan(&self) -> impl Iterator<Item = (&String, &Member)> {
        self.keepers.iter().filter_map(|(name, kept)| Some((name, kept.member.as_ref()?)))
    }

    /// Passes on what a plan changes.
    fn follow(&mut self, plan: Plan, ctx: &mut Context<Self>) -> Reloaded {
        let Plan { members, problems } = plan;
        let mut reloaded = Reloaded {
            refused: problems.iter().map(|problem| problem.file.display().to_string()).collect(),
            ..Reloaded::default()
        };
        let before: HashSet<_> = self.shared.board.problems().into_iter().map(|problem| problem.text).collect();
        for problem in problems.iter().filter(|problem| !before.contains(&problem.text)) {
            let (file, goes_on) = (problem.file.display(), problem.pipeline.as_deref().unwrap_or("none"));
            tracing::error!(%file, goes_on, reason = problem.text, "pipeline file refused");
        }
        self.shared.board.reloaded(problems);
        self.shared.board.set_stage(Stage::Kept);
        let gone = |(name, kept): (&String, &mut Kept)| {
            let leaves = !members.contains_key(name) && kept.member.take().is_some();
            leaves.then(|| (name.clone(), kept.keeper.clone()))
        };
        for (name, keeper) in self.keepers.iter_mut().filter_map(gone).collect::<Vec<_>>() {
            keeper.do_send(Leave);
            reloaded.removed.push(name);
        }
        let count = members.len().max(1);
        self.shared.memory.store(self.memory / count, Ordering::Relaxed);
        for (name, member) in members {
            let define = Define { file: member.file.clone(), pipeline: member.pipeline.clone() };
            match self.keepers.get_mut(&name) {
                Some(kept) => {
                    let same = kept
                        .member
                        .as_ref()
                        .is_some_and(|before| before.pipeline.fingerprint == member.pipeline.fingerprint);
                    if same { &mut reloaded.unchanged } else { &mut reloaded.changed }.push(name);
                    kept.member = Some(member);
                    kept.keeper.do_send(define);
                }
                None => {
                    let keeper = self.keep(define, ctx);
                    reloaded.added.push(name.clone());
                    self.keepers.insert(name, Kept { keeper, member: Some(member) });
                }
            }
        }
        self.keepers.values().for_each(|kept| kept.keeper.do_send(ShareMemory));
        let names = |names: &[String]| names.join(", ");
        tracing::info!(
            added = names(&reloaded.added),
            changed = names(&reloaded.changed),
            removed = names(&reloaded.removed),
            unchanged = reloaded.unchanged.len(),
            refused = names(&reloaded.refused),
            "pipeline files read"
        );
        reloaded
    }

    fn keep(&self, define: Define, ctx: &mut Context<Self>) -> Addr<Keeper> {
        let wanted = self.wanted.get(&define.pipeline.name).copied();
        Keeper::new(self.shared.clone(), ctx.address(), define, wanted).start()
    }

    fn end_if_done(&mut self) {
        if self.keepers.is_empty()
            && let Some(ending) = self.ending.take()
        {
            let _ = ending.send(self.all_committed);
        }
    }
}

/// The pipeline files of a folder: `*.toml`, none of its folders.
fn read_files(folder: &Path) -> std::io::Result<Files> {
    let paths: Vec<_> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    let hidden = |path: &Path| path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let toml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml") && !hidden(path);
    Ok(paths.into_iter().filter(toml).map(|path| (path.clone(), digest(&path))).collect())
}

fn digest(path: &Path) -> Option<[u8; 32]> {
    settings::read(path).ok().map(|text| Sha256::digest(text).into())
}

fn make_plan(files: &Files, known: &BTreeMap<String, Member>) -> Plan {
    let read = |file: &PathBuf| Found {
        file: file.clone(),
        read: Pipeline::load(file).map_err(|broken| broken.plain_report()),
    };
    plan(files.keys().map(read).collect(), known, |pipeline| match fits_its_dataset(pipeline) {
        Err(error @ LedgerError::OtherDataset { .. }) => Err(chain(&error)),
        // A disk that isn't there yet: the pipeline's start says so, and is tried again.
        Ok(_) | Err(_) => Ok(()),
    })
}

impl Actor for Fleet {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.read(false, ctx);
        ctx.run_interval(LOOK, |fleet, ctx| {
            if fleet.ending.is_none() {
                fleet.read(true, ctx);
            }
        });
    }
}

impl Handler<Reload> for Fleet {
    type Result = ResponseFuture<Result<Reloaded, String>>;

    fn handle(&mut self, _: Reload, ctx: &mut Context<Self>) -> Self::Result {
        let (done, end) = oneshot::channel();
        self.waiting.push(done);
        self.read(false, ctx);
        Box::pin(async move { end.await.unwrap_or_else(|_| Err("weir is stopping".to_owned())) })
    }
}

impl Handler<Shutdown> for Fleet {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, _: Shutdown, _: &mut Context<Self>) -> Self::Result {
        let (done, end) = oneshot::channel();
        self.ending = Some(done);
        self.shared.board.set_stage(Stage::Stopping);
        self.waiting.clear();
        for kept in self.keepers.values_mut() {
            kept.member = None;
            kept.keeper.do_send(Leave);
        }
        self.end_if_done();
        Box::pin(async move { end.await.unwrap_or(false) })
    }
}

impl Handler<Left> for Fleet {
    type Result = ();

    fn handle(&mut self, Left { pipeline: name, committed }: Left, ctx: &mut Context<Self>) {
        if self.ending.is_some() {
            self.all_committed &= committed;
        }
        // Its file has come back meanwhile, or its keeper panicked.
        if let Some(Kept { member: Some(member), .. }) = self.keepers.remove(&name) {
            let define = Define { file: member.file.clone(), pipeline: member.pipeline.clone() };
            let keeper = self.keep(define, ctx);
            self.keepers.insert(name, Kept { keeper, member: Some(member) });
        }
        self.end_if_done();
    }
}

impl Handler<Order> for Fleet {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, order: Order, _: &mut Context<Self>) -> Self::Result {
        let kept = self.keepers.get(&order.pipeline).filter(|kept| kept.member.is_some());
        if kept.is_some() {
            self.wanted.insert(order.pipeline.clone(), order.command);
        }
        // The board shows what comes of it when the keeper has answered.
        let asked = kept.map(|kept| kept.keeper.send(Want(order.command)));
        Box::pin(async move {
            match asked {
                Some(asked) => asked.await.is_ok(),
                None => false,
            }
        })
    }
}

impl Handler<FlushOf> for Fleet {
    type Result = ResponseFuture<Option<Result<bool, Phase>>>;

    fn handle(&mut self, FlushOf(name): FlushOf, _: &mut Context<Self>) -> Self::Result {
        let asked = self.keepers.get(&name).map(|kept| kept.keeper.send(FlushPipeline));
        Box::pin(async move {
            match asked {
                Some(asked) => Some(asked.await.unwrap_or(Err(Phase::Stopped))),
                None => None,
            }
        })
    }
}

impl Handler<Ping> for Fleet {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}
