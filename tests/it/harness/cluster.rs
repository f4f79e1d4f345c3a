//! Brokers behind a network that can fail: one, or three that replicate everything. weir reaches each of them through a
//! [`Proxy`]; producers, the truth and the brokers themselves don't.

use std::time::Duration;

use super::broker::{Broker, free_port};
use super::proxy::{Mode, Proxy};
use super::topics::brokers;
use super::until;

/// Settings with which brokers notice soon that one of them is gone, and give leaders back.
const SOON: [&str; 9] = [
    "broker.session.timeout.ms=3000",
    "broker.heartbeat.interval.ms=500",
    "replica.lag.time.max.ms=3000",
    "leader.imbalance.check.interval.seconds=2",
    "leader.imbalance.per.broker.percentage=0",
    "transaction.state.log.min.isr=1",
    "controller.quorum.election.timeout.ms=500",
    "controller.quorum.fetch.timeout.ms=1500",
    "controlled.shutdown.enable=true",
];
const SETTLED: Duration = Duration::from_secs(120);

/// A cluster's brokers, and what is before each.
pub struct Cluster {
    pub brokers: Vec<Broker>,
    pub proxies: Vec<Proxy>,
}

impl Cluster {
    /// Starts so many brokers, and waits until they know each other.
    pub fn of(size: usize) -> Cluster {
        let ports: Vec<u16> = (0..size).map(|_| free_port()).collect();
        let outside: Vec<u16> = (0..size).map(|_| free_port()).collect();
        let proxies: Vec<Proxy> = outside.iter().map(|port| Proxy::to(*port)).collect();
        let address = list(ports.iter().map(|port| format!("localhost:{port}")));
        let voters = list((1..).zip(&ports).map(|(id, port)| format!("{id}@localhost:{}", port + 1)));
        let member = |at: usize| {
            let (port, outside, proxy) = (ports[at], outside[at], proxies[at].port());
            let own = [
                format!("node.id={}", at + 1),
                format!("controller.quorum.voters={voters}"),
                format!(
                    "listeners=PLAINTEXT://localhost:{port},OUTSIDE://localhost:{outside},CONTROLLER://localhost:{}",
                    port + 1
                ),
                format!("advertised.listeners=PLAINTEXT://localhost:{port},OUTSIDE://localhost:{proxy}"),
                "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT".into(),
                format!("offsets.topic.replication.factor={size}"),
                format!("transaction.state.log.replication.factor={size}"),
            ];
            let all = own.into_iter().chain(SOON.map(str::to_owned)).collect();
            Broker::member(port, address.clone(), |_| all)
        };
        let cluster = Cluster { brokers: (0..size).map(member).collect(), proxies };
        cluster.brokers.iter().for_each(Broker::launch);
        cluster.brokers.iter().for_each(Broker::wait_until_it_answers);
        cluster.settle();
        cluster
    }

    /// Waits until every broker is a member.
    pub fn settle(&self) {
        until("the brokers know each other", SETTLED, || brokers(&self.brokers[0]) == self.brokers.len());
    }

    /// Where weir finds it.
    pub fn outside(&self) -> String {
        list(self.proxies.iter().map(|proxy| format!("localhost:{}", proxy.port())))
    }

    /// What the network before every broker does from now on.
    pub fn network(&self, mode: Mode) {
        self.proxies.iter().for_each(|proxy| proxy.set(mode));
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}
