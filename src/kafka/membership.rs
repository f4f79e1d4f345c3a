//! Whether the group has given this consumer an assignment, and what is to be said while it has
//! not.
//!
//! librdkafka asks again for ever. It tells of most refused joins by an error, one a second. Of
//! others it tells nothing: a refused SyncGroup, a failed assignor, a coordinator that is not
//! there, a join that waits for other members. So this module also counts the seconds without an
//! answer. It only decides; the source logs, and shows the reason to whoever asks whether weir is
//! ready.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

use super::refusal::{Claim, Denied};

/// How long a group may take to answer before that is said. A new group waits 3 s for more members
/// (`group.initial.rebalance.delay.ms`). Whoever looks once a second then says it within 5 s.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often it is said again.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Why the group has given this consumer no assignment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotJoined {
    /// It has not answered.
    #[error(
        "group {group:?} has given this consumer no assignment yet. Most likely a member that died still counts: it does for its \
         `session.timeout.ms` (here {session_ms} ms). Or a member is slow to join again, or the group's coordinator does not answer. \
         Wait, or look at the members: kafka-consumer-groups --bootstrap-server {brokers} --describe --group {group} --members"
    )]
    NoAnswer { group: String, brokers: String, session_ms: String },
    /// The others assign partitions in another way.
    #[error(
        "group {group:?} has members that assign partitions in another way than weir (cooperative-sticky), such as consumers \
         with the default assignor of most clients. Stop these members, or take another `source.group`. Who they are: \
         kafka-consumer-groups --bootstrap-server {brokers} --describe --group {group} --members"
    )]
    OtherProtocol { group: String, brokers: String },
    /// The session's length is none that the brokers take.
    #[error(
        "the brokers refuse members of group {group:?} with `session.timeout.ms` = {session_ms}. It must be from their \
         group.min.session.timeout.ms (6000 unless set) to their group.max.session.timeout.ms (1800000 unless set): correct it in \
         [source.client]"
    )]
    SessionTimeout { group: String, session_ms: String },
    /// The brokers allow no more members.
    #[error(
        "group {group:?} is full: the brokers allow it no more members (group.max.size). Stop other members, lower \
         `source.consumers`, take another `source.group`, or raise group.max.size"
    )]
    Full { group: String },
    /// A right is missing.
    #[error(transparent)]
    Denied(Denied),
    /// Anything else.
    #[error(
        "group {group:?} refuses this consumer ({words}). Look for the reason in the log of the group's coordinator; \
         [source.client] and `source.group` are what weir joins with"
    )]
    Other { group: String, words: String },
}

impl NotJoined {
    /// What the client reports, if it says that the group refuses this consumer.
    pub(crate) fn of(claim: &Claim, code: RDKafkaErrorCode, words: &str) -> Option<Self> {
        use RDKafkaErrorCode::{
            GroupAuthorizationFailed, GroupMaxSizeReached, InconsistentGroupProtocol, InvalidSessionTimeout,
        };
        let (group, brokers, session_ms) = (claim.group.clone(), claim.brokers.clone(), claim.session_ms.clone());
        // The client's words, of the version that Cargo.toml pins.
        let joining = ["JoinGroup failed", "FindCoordinator response error"].iter().any(|of| words.starts_with(of));
        Some(match code {
            InconsistentGroupProtocol => NotJoined::OtherProtocol { group, brokers },
            InvalidSessionTimeout => NotJoined::SessionTimeout { group, session_ms },
            GroupMaxSizeReached => NotJoined::Full { group },
            GroupAuthorizationFailed => NotJoined::Denied(claim.denied_group("READ")),
            _ if joining => NotJoined::Other { group, words: words.to_owned() },
            _ => return None,
        })
    }

    /// That there is no answer.
    pub(crate) fn no_answer(claim: &Claim) -> Self {
        let (group, brokers, session_ms) = (claim.group.clone(), claim.brokers.clone(), claim.session_ms.clone());
        NotJoined::NoAnswer { group, brokers, session_ms }
    }
}

/// A consumer's place in its group.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    /// None where the group has given an assignment, however small.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    refusal: Option<NotJoined>,
    /// When it was said last, as it is.
    said: Option<Instant>,
    /// Whether anything was said since the wait began.
    ever_said: bool,
}

impl Membership {
    /// From here on the group is to give an assignment.
    pub(crate) fn waits(&mut self, now: Instant) {
        self.waiting.get_or_insert(Waiting { since: now, refusal: None, said: None, ever_said: false });
    }

    /// The group refuses this consumer. It may still have the partitions of before, but not for
    /// long.
    pub(crate) fn refused(&mut self, refusal: NotJoined, now: Instant) {
        self.waits(now);
        if let Some(waiting) = &mut self.waiting
            && waiting.refusal.as_ref() != Some(&refusal)
        {
            (waiting.refusal, waiting.said) = (Some(refusal), None);
        }
    }

    /// The group has given an assignment. Returns for how long it was waited for, if that was said.
    pub(crate) fn assigned(&mut self, now: Instant) -> Option<Duration> {
        self.waiting.take().filter(|waiting| waiting.ever_said).map(|waiting| now - waiting.since)
    }

    /// Whether an assignment is waited for, and the reason where the group has given one.
    pub(crate) fn waiting(&self) -> Option<Option<&NotJoined>> {
        self.waiting.as_ref().map(|waiting| waiting.refusal.as_ref())
    }

    /// Whether it is to be said now that there is no assignment; it counts as said then.
    pub(crate) fn is_to_be_said(&mut self, now: Instant) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        let due = match (waiting.said, &waiting.refusal) {
            (Some(said), _) => now - said >= SAY_AGAIN,
            (None, Some(_)) => true,
            (None, None) => now - waiting.since >= PATIENCE,
        };
        if due {
            (waiting.said, waiting.ever_said) = (Some(now), true);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;

    use super::*;

    fn claim() -> Claim {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "kafka:9092").set("group.id", "g").set("session.timeout.ms", "500");
        Claim::of(&config)
    }

    /// The beginning of what is said, and a part of the way out; nothing where it is not about
    /// joining.
    #[track_caller]
    fn check(code: RDKafkaErrorCode, words: &str, said: &str, way_out: &str) {
        let found = NotJoined::of(&claim(), code, words).map(|refusal| refusal.to_string()).unwrap_or_default();
        assert!(found.starts_with(said) && found.contains(way_out), "{code}: {found}");
        assert_eq!(found.is_empty(), said.is_empty(), "{code}: {found}");
    }

    #[test]
    fn each_refusal_names_the_group_the_cause_and_the_way_out() {
        use RDKafkaErrorCode::{
            BrokerTransportFailure, GroupAuthorizationFailed, GroupMaxSizeReached, InconsistentGroupProtocol,
            InvalidGroupId, InvalidSessionTimeout, PollExceeded, UnknownTopicOrPartition, UnsupportedVersion,
        };
        let join = |text: &str| format!("JoinGroup failed: Broker: {text}");
        let other = "group \"g\" has members that assign partitions in another way";
        check(InconsistentGroupProtocol, &join("Inconsistent group protocol"), other, "another `source.group`");
        let session = "the brokers refuse members of group \"g\" with `session.timeout.ms` = 500";
        check(InvalidSessionTimeout, &join("Invalid session timeout"), session, "correct it in [source.client]");
        check(GroupMaxSizeReached, &join("full"), "group \"g\" is full", "Stop other members");
        let denied = "kafka:9092 does not allow User:ANONYMOUS to READ group \"g\"";
        check(GroupAuthorizationFailed, &join("denied"), denied, "kafka-acls");
        check(GroupAuthorizationFailed, "FindCoordinator response error: no", denied, "kafka-acls");
        let words = "group \"g\" refuses this consumer (JoinGroup failed: Broker: Invalid group.id)";
        check(InvalidGroupId, &join("Invalid group.id"), words, "`source.group`");
        let words = "group \"g\" refuses this consumer (FindCoordinator response error: too old)";
        check(UnsupportedVersion, "FindCoordinator response error: too old", words, "coordinator");
        // What is about something else.
        check(UnsupportedVersion, "Fetch from broker 1 failed", "", "");
        check(BrokerTransportFailure, "kafka:9092/1: Disconnected", "", "");
        check(UnknownTopicOrPartition, "Subscribed topic not available: t", "", "");
        check(PollExceeded, "Application maximum poll interval (300000ms) exceeded by 2ms", "", "");
        let no_answer = NotJoined::no_answer(&claim()).to_string();
        assert!(no_answer.contains("`session.timeout.ms` (here 500 ms)"), "{no_answer}");
    }

    /// A second's events, and whether it is said then that there is no assignment.
    #[test]
    fn it_is_said_soon_then_each_minute_and_when_it_is_over() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let full = || NotJoined::Full { group: "g".into() };
        let other = || NotJoined::OtherProtocol { group: "g".into(), brokers: "b".into() };
        let said = |member: &mut Membership, from: u64, to: u64| -> Vec<u64> {
            (from..to).filter(|second| member.is_to_be_said(at(*second))).collect()
        };

        // An answer in time is nothing to speak of.
        let mut member = Membership::default();
        assert_eq!((said(&mut member, 0, 100), member.waiting()), (vec![], None));
        member.waits(at(0));
        assert_eq!((said(&mut member, 0, 4), member.waiting()), (vec![], Some(None)));
        assert_eq!((member.assigned(at(4)), member.waiting()), (None, None));

        // No answer: after four seconds, each minute, and at its end.
        member.waits(at(10));
        member.waits(at(12));
        assert_eq!(said(&mut member, 10, 140), [14, 74, 134]);
        assert_eq!(member.assigned(at(140)), Some(Duration::from_secs(130)));

        // Refused: at once, also while it has partitions; another reason is news; the same one
        // isn't.
        member.refused(full(), at(200));
        assert_eq!(said(&mut member, 200, 203), [200]);
        member.refused(full(), at(203));
        assert!(said(&mut member, 203, 210).is_empty());
        member.refused(other(), at(210));
        assert_eq!((said(&mut member, 210, 271), member.waiting()), (vec![210, 270], Some(Some(&other()))));
        assert_eq!(member.assigned(at(271)), Some(Duration::from_secs(71)));
        // The next wait begins anew.
        member.waits(at(300));
        assert_eq!((member.assigned(at(301)), member.waiting()), (None, None));
    }
}
