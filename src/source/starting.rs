//! How lanes start: their ledgers are read beside each other, and each is made from where its ledger ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{ActorFutureExt as _, AsyncContext as _, Context, WrapFuture as _};
use tokio::task::{JoinError, JoinHandle};

use super::actor::{Source, log};
use super::lanes::LaneId;
use super::place::StartAt;
use super::start::{Known, SameTopics, StartError, read_ledger};
use crate::flow::lane::NewLane;

/// How long the answer to an assignment may wait for ledgers; lanes that are later start one by one.
const ANSWER_GROUP_WITHIN: Duration = Duration::from_secs(5);

/// A partition whose ledger is being read.
struct Reading {
    id: LaneId,
    read: JoinHandle<Result<Known, StartError>>,
}

/// A partition whose ledger was read.
struct Started {
    id: LaneId,
    known: Result<Known, StartError>,
}

impl Reading {
    fn started(self, known: Result<Result<Known, StartError>, JoinError>) -> Started {
        let known = known.unwrap_or_else(|panic| Err(StartError::Panicked(panic.to_string())));
        Started { id: self.id, known }
    }
}

/// Lanes are to start (again).
struct Ready {
    started: Vec<Started>,
    /// Whether the group waits for an answer to its assignment.
    answers: bool,
}

impl Source {
    /// Reads the ledgers of some lanes, all at once, and then starts them together.
    pub(super) fn read_ledgers(&mut self, lanes: Vec<LaneId>, answers: bool, ctx: &mut Context<Self>) {
        let topics = Arc::new(SameTopics::default());
        let read = |id: LaneId| {
            let (run, broker, of, topics) = (self.run.clone(), self.broker(), id.partition.clone(), topics.clone());
            let read = tokio::task::spawn_blocking(move || read_ledger(&run, &broker, &of, &topics));
            Reading { id, read }
        };
        let reading: Vec<Reading> = lanes.into_iter().map(read).collect();
        let all = async move {
            // While the group waits for its answer nothing is fetched: a partition without a leader must not hold the others.
            let give_up_at = tokio::time::Instant::now() + ANSWER_GROUP_WITHIN;
            let (mut started, mut late) = (Vec::new(), Vec::new());
            for mut reading in reading {
                match tokio::time::timeout_at(give_up_at, &mut reading.read).await {
                    Ok(tip) => started.push(reading.started(tip)),
                    Err(_) => late.push(reading),
                }
            }
            (Ready { started, answers }, late)
        };
        ctx.spawn(all.into_actor(self).map(|(ready, late), source, ctx| {
            Self::ready(ready, source, ctx);
            for mut reading in late {
                let one = async move {
                    let tip = (&mut reading.read).await;
                    Ready { started: vec![reading.started(tip)], answers: false }
                };
                ctx.spawn(one.into_actor(source).map(Self::ready));
            }
        }));
    }

    fn ready(ready: Ready, source: &mut Self, ctx: &mut Context<Self>) {
        let mut starts = Vec::new();
        for Started { id, known } in ready.started {
            match known {
                Ok(known) => starts.extend(source.make(&id, known, ctx)),
                Err(error) => {
                    let actions = source.lanes.not_known(&id, &error);
                    source.perform(actions, ctx);
                }
            }
        }
        let actions = source.lanes.started(starts, ready.answers);
        source.perform(actions, ctx);
    }

    /// Makes a lane, unless the partition is another one's by now; gives from where it is read.
    fn make(&mut self, id: &LaneId, known: Known, ctx: &mut Context<Self>) -> Option<StartAt> {
        let Known { tip, committed } = known;
        let (start, partition) = (self.lanes.known(id, &tip)?, &id.partition);
        self.untold.starts(partition, tip.to, committed);
        self.run.progress.starts(partition, tip.to, start.end);
        log!(info, self.run, partition, position = tip.to, sequence = tip.sequence, "lane starts");
        if tip.lost > 0 {
            let lost = tip.lost;
            log!(warn, self.run, partition, lost, "lane goes on after offsets that a person gave up");
            self.run.progress.loses(partition, tip.to, tip.lost);
        }
        let address = ctx.address();
        let lane = (self.make_lane)(NewLane {
            partition: partition.clone(),
            generation: id.generation,
            tip,
            committed: address.clone().recipient(),
            ended: address.recipient(),
        });
        self.lanes.made(&start, lane, Instant::now());
        Some(start)
    }
}
