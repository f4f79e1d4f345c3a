//! Every kind of fault: what it needs, and what must follow.

use std::time::Duration;

use weir::base::failpoint;

use super::dice::Dice;
use super::ruins::{self, Ruin};
use super::world::World;
use super::{faults, unclean};
use crate::harness::cluster::Cluster;
use crate::harness::feed::CODECS;
use crate::harness::proxy::Mode;
use crate::harness::shim::Switch;

/// A kind of fault.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// In how many ways it is done; a fault has one of them.
    pub(super) variants: usize,
    /// How many of the variants the short form does.
    pub(super) short: usize,
    pub(super) what: What,
}

/// What a fault happens to, and what follows.
#[derive(Clone, Copy)]
pub(super) enum What {
    /// One broker: weir goes on by itself.
    One(fn(&mut World, usize, &mut Dice)),
    /// The same, once for a topic.
    Once(fn(&mut World, usize, &mut Dice)),
    /// Three brokers: weir goes on by itself.
    Three(fn(&mut World, usize, &mut Dice)),
    /// A dataset: weir refuses until a person acts. How long it took to go on then.
    Refused(fn(&Ruin, &mut Dice) -> Duration),
    /// Three brokers that lose what they had confirmed: weir refuses.
    Unclean(fn(&Cluster, &str, &mut Dice) -> Duration),
}

use What::{Once, One, Refused, Three, Unclean};

const fn one(name: &'static str, what: What) -> Kind {
    Kind { name, variants: 1, short: 1, what }
}

/// In the order of the table.
pub(super) const KINDS: &[Kind] = &[
    Kind { name: "SIGKILL at a random moment", variants: 1, short: 5, what: One(faults::killed) },
    Kind {
        name: "crash at every failpoint",
        variants: failpoint::NAMES.len(),
        short: failpoint::NAMES.len(),
        what: One(faults::crashed),
    },
    Kind { name: "crash again during recovery", variants: 4, short: 4, what: One(faults::crashed_in_recovery) },
    one("SIGTERM under load", One(faults::stopped)),
    one("SIGTERM twice", One(faults::stopped_twice)),
    one("SIGSTOP past the session timeout", One(faults::frozen)),
    Kind {
        name: "SIGSTOP at a failpoint",
        variants: failpoint::NAMES.len() - 3,
        short: 3,
        what: One(faults::frozen_at_a_point),
    },
    one("rebalance storm", One(faults::storm)),
    one("broker killed and started", One(faults::broker_killed)),
    one("broker stopped and started", One(faults::broker_stopped)),
    one("one of three brokers killed", Three(faults::one_of_three_killed)),
    one("leaders moved", Three(faults::leaders_moved)),
    one("unclean election", Unclean(unclean::election)),
    one("unclean election under way", Unclean(unclean::election_under_way)),
    one("unclean election before the end", Unclean(unclean::election_before_the_end)),
    one("network: blackhole", One(|world, _, dice| faults::network(world, dice, Mode::Blackhole))),
    one("network: half-open", One(|world, _, dice| faults::network(world, dice, Mode::HalfOpen))),
    one("network: 1 KB/s", One(|world, _, dice| faults::network(world, dice, Mode::Slow))),
    one("network: resets", One(|world, _, dice| faults::network(world, dice, Mode::Reset))),
    one("network: answers lost", One(|world, _, dice| faults::network(world, dice, Mode::NoAnswers))),
    one("network: requests lost", One(|world, _, dice| faults::network(world, dice, Mode::NoRequests))),
    one("network of three: blackhole", Three(|world, _, dice| faults::network(world, dice, Mode::Blackhole))),
    one("network of three: resets", Three(|world, _, dice| faults::network(world, dice, Mode::Reset))),
    one("disk full", One(|world, _, dice| faults::switched(world, Switch::Full, "No space left on device", dice))),
    one(
        "disk read-only",
        One(|world, _, dice| faults::switched(world, Switch::ReadOnly, "Read-only file system", dice)),
    ),
    one("fsync fails", One(faults::syncs_fail)),
    one("fsync slow", One(faults::slow_disk)),
    one("clock stepped", One(faults::clock_stepped)),
    one("hanging transaction", One(faults::hanging_transaction)),
    Kind {
        name: "aborts across fetches, each codec",
        variants: CODECS.len(),
        short: 2,
        what: One(faults::large_abort),
    },
    one("poison payloads", One(faults::poison)),
    one("partitions 3 → 12", Once(faults::more_partitions)),
    one("staging of another instance", One(faults::foreign_staging)),
    one("staging removed", One(faults::staging_removed)),
    one("group join refused", One(faults::group_refused)),
    one("128 MB, batches that compress well", One(faults::little_memory)),
    one("stop with a full disk", One(faults::stopped_on_a_full_disk)),
    one("topic made again, shorter", Refused(ruins::made_again_shorter)),
    one("topic made again, longer", Refused(ruins::made_again_longer)),
    one("records deleted past the position", Refused(ruins::records_deleted)),
    one("older ledger restored", Refused(ruins::older_ledger)),
    one("entry: flipped bit", Refused(ruins::flipped_entry)),
    one("entry: cut", Refused(ruins::cut_entry)),
    one("entry: missing", Refused(ruins::missing_entry)),
    one("entry: newest missing", Refused(ruins::missing_newest_entry)),
    one("file: flipped bit", Refused(ruins::flipped_data)),
    one("file: cut", Refused(ruins::cut_data)),
    one("file: missing", Refused(ruins::missing_data)),
    one("hive folder is a link", Refused(ruins::linked_folder)),
];
