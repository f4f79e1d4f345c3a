//! Why brokers don't let this client in, or deny it a topic or its group: in words for the person who has to mend it.
//!
//! The client's error codes decide, where it has them. It has none for clients and brokers that expect different protocols of
//! each other, nor for whose certificate is at fault: there its own words do, of the version that Cargo.toml pins, and
//! tests on a real broker have each of them. Passwords and keys never come near: a [`Claim`] doesn't have them.

use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;

use crate::base::codes::{Code, Coded};

/// Who this client says it is, and what it trusts.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// `bootstrap.servers`.
    pub(crate) brokers: String,
    pub(crate) group: String,
    /// `session.timeout.ms`.
    pub(crate) session_ms: String,
    /// `security.protocol`, in capitals.
    protocol: String,
    mechanism: String,
    user: Option<String>,
    /// What signs brokers' certificates.
    authority: String,
    /// The client's own certificate.
    certificate: Option<String>,
}

/// Why no broker lets this client in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The user, the password or the way to show them is wrong.
    #[error(
        "{brokers} refuses user {user:?} with SASL mechanism {mechanism} ({words}); check `sasl.username`, `sasl.password` and \
         `sasl.mechanism` in [source.client], and that the cluster has this user for this mechanism"
    )]
    Credentials {
        /// `bootstrap.servers`.
        brokers: String,
        /// `sasl.username`.
        user: String,
        /// `sasl.mechanism`.
        mechanism: String,
        /// The broker's words, by way of the client.
        words: String,
    },
    /// A user is asked for.
    #[error(
        "{brokers} closed the connection: it most likely wants a user and a password, and `security.protocol` is {protocol:?}, \
         which shows none; set `security.protocol` to \"SASL_SSL\", and `sasl.mechanism`, `sasl.username` and `sasl.password`, in \
         [source.client]"
    )]
    NoCredentials {
        /// `bootstrap.servers`.
        brokers: String,
        /// `security.protocol`.
        protocol: String,
    },
    /// TLS is asked for.
    #[error(
        "{brokers} closed the connection: it most likely speaks TLS, and `security.protocol` is {protocol:?}, which doesn't; set \
         `security.protocol` to {tls:?} in [source.client], or name the port of a listener without TLS in source.brokers"
    )]
    NoTls {
        /// `bootstrap.servers`.
        brokers: String,
        /// `security.protocol`.
        protocol: String,
        /// The same with TLS.
        tls: String,
    },
    /// The broker has no TLS.
    #[error(
        "{brokers} does not answer in TLS, and `security.protocol` is {protocol:?}; name the port of a TLS listener in \
         source.brokers, or, where the network may see everything, set `security.protocol` to {plain:?} in [source.client]"
    )]
    OnlyTls {
        /// `bootstrap.servers`.
        brokers: String,
        /// `security.protocol`.
        protocol: String,
        /// The same without TLS.
        plain: String,
    },
    /// The broker's certificate isn't good. Also where it is for another host name, until that was found out.
    #[error(
        "the certificate of {brokers} is not trusted: most likely it was not signed by {authority}, or has expired; name the authority that \
         signs the brokers' certificates by `ssl.ca.location` in [source.client]"
    )]
    Untrusted {
        /// `bootstrap.servers`.
        brokers: String,
        /// What it should be signed by.
        authority: String,
    },
    /// The broker's certificate is for another host.
    #[error(
        "the certificate of {brokers} is signed by {authority}, but for another host name; name the brokers in source.brokers as \
         their certificates do"
    )]
    AnotherHost {
        /// `bootstrap.servers`.
        brokers: String,
        /// What it is signed by.
        authority: String,
    },
    /// A client's certificate is asked for.
    #[error(
        "{brokers} wants a client's certificate, and this client has none; set `ssl.certificate.location` and \
         `ssl.key.location` in [source.client]"
    )]
    NoCertificate {
        /// `bootstrap.servers`.
        brokers: String,
    },
    /// The client's certificate isn't good.
    #[error(
        "{brokers} refuses the client's certificate {certificate} ({words}); have it signed by an authority that the brokers trust"
    )]
    Certificate {
        /// `bootstrap.servers`.
        brokers: String,
        /// Where it is.
        certificate: String,
        /// The client's words.
        words: String,
    },
    /// Anything else about TLS.
    #[error(
        "TLS with {brokers} fails ({words}); check `security.protocol` and the ssl.* properties in [source.client]"
    )]
    Tls {
        /// `bootstrap.servers`.
        brokers: String,
        /// The client's words.
        words: String,
    },
}

impl Coded for Refusal {
    fn code(&self) -> Code {
        match self {
            Refusal::Credentials { .. } => Code::Credentials,
            Refusal::NoCredentials { .. } => Code::NoCredentials,
            Refusal::NoTls { .. } => Code::NoTls,
            Refusal::OnlyTls { .. } => Code::OnlyTls,
            Refusal::Untrusted { .. } => Code::UntrustedBroker,
            Refusal::AnotherHost { .. } => Code::BrokerOfAnotherName,
            Refusal::NoCertificate { .. } => Code::NoCertificate,
            Refusal::Certificate { .. } => Code::Certificate,
            Refusal::Tls { .. } => Code::Tls,
        }
    }
}

/// A right that this client would need: the access control list that is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{brokers} does not allow {principal} to {operation} {resource} {name:?}; READ on it is what weir needs (DESCRIBE comes with \
     it): kafka-acls --bootstrap-server {brokers} --add --allow-principal {principal:?} --operation READ --{resource} {name}"
)]
pub struct Denied {
    brokers: String,
    principal: String,
    operation: &'static str,
    resource: &'static str,
    name: String,
}

/// What tells a certificate that nobody vouches for from one that is for another host: a configuration that does not look at
/// the host's name. It shows nothing of the client's own, neither password nor certificate, to a broker that may be anybody's.
pub(crate) fn any_host(config: &ClientConfig) -> ClientConfig {
    const TRUST: [&str; 3] = ["bootstrap.servers", "ssl.ca.location", "ssl.ca.pem"];
    let mut without = ClientConfig::new();
    for (name, value) in TRUST.into_iter().filter_map(|name| Some((name, config.get(name)?))) {
        without.set(name, value);
    }
    without
        .set("security.protocol", "SSL")
        .set("ssl.endpoint.identification.algorithm", "none")
        .set("group.id", "none");
    without
}

impl Claim {
    pub(crate) fn of(config: &ClientConfig) -> Self {
        let get = |name: &str| config.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
        let inline = |name: &str| config.get(name).map(|_| format!("`{name}`"));
        Claim {
            brokers: get("bootstrap.servers").unwrap_or_default(),
            group: get("group.id").unwrap_or_default(),
            // The client's default.
            session_ms: get("session.timeout.ms").unwrap_or_else(|| "45000".into()),
            protocol: get("security.protocol").map_or_else(|| "PLAINTEXT".into(), |name| name.to_uppercase()),
            mechanism: get("sasl.mechanism").or_else(|| get("sasl.mechanisms")).unwrap_or_else(|| "GSSAPI".into()),
            user: get("sasl.username"),
            authority: get("ssl.ca.location")
                .or_else(|| inline("ssl.ca.pem"))
                .unwrap_or_else(|| "an authority that this machine knows".into()),
            certificate: get("ssl.certificate.location")
                .or_else(|| inline("ssl.certificate.pem"))
                .or_else(|| get("ssl.keystore.location")),
        }
    }

    /// What the client reports, if it says that the brokers don't let it in.
    pub(crate) fn refusal(&self, code: Option<RDKafkaErrorCode>, words: &str) -> Option<Refusal> {
        let brokers = self.brokers.clone();
        let protocol = self.protocol.clone();
        // Only a line of the log tells; as an error it is one among others.
        let closed_in =
            |state| code.is_none() && words.contains("Disconnected") && words.contains(&format!(" in state {state}"));
        let says = |any: &[&str]| any.iter().any(|some| words.contains(some));
        Some(if code == Some(RDKafkaErrorCode::Authentication) {
            let user = self.user.clone().unwrap_or_default();
            Refusal::Credentials { brokers, user, mechanism: self.mechanism.clone(), words: essence(words) }
        } else if closed_in("APIVERSION_QUERY") && !protocol.ends_with("SSL") {
            let tls = if protocol.starts_with("SASL") { "SASL_SSL" } else { "SSL" };
            Refusal::NoTls { brokers, protocol, tls: tls.into() }
        } else if closed_in("UP") && !protocol.starts_with("SASL") {
            Refusal::NoCredentials { brokers, protocol }
        } else if says(&[
            "connecting to a PLAINTEXT broker listener?",
            "wrong version number",
            "packet length too long",
        ]) {
            let plain = if protocol.starts_with("SASL") { "SASL_PLAINTEXT" } else { "PLAINTEXT" };
            Refusal::OnlyTls { brokers, protocol, plain: plain.into() }
        } else if says(&["certificate verify failed"]) {
            let authority = self.authority.clone();
            Refusal::Untrusted { brokers, authority }
        } else if says(&[
            "alert bad certificate",
            "alert certificate",
            "alert unknown ca",
            "alert unsupported certificate",
        ]) {
            match &self.certificate {
                None => Refusal::NoCertificate { brokers },
                Some(certificate) => {
                    Refusal::Certificate { brokers, certificate: certificate.clone(), words: essence(words) }
                }
            }
        } else if code == Some(RDKafkaErrorCode::SSL) {
            Refusal::Tls { brokers, words: essence(words) }
        } else {
            return None;
        })
    }

    /// The right that an answer says is missing.
    pub(crate) fn denied_by(&self, code: RDKafkaErrorCode, operation: &'static str, topic: &str) -> Option<Denied> {
        match code {
            RDKafkaErrorCode::TopicAuthorizationFailed => Some(self.denied_topic(operation, topic)),
            RDKafkaErrorCode::GroupAuthorizationFailed => Some(self.denied_group(operation)),
            _ => None,
        }
    }

    pub(crate) fn denied_topic(&self, operation: &'static str, topic: &str) -> Denied {
        self.denied(operation, "topic", topic)
    }

    pub(crate) fn denied_group(&self, operation: &'static str) -> Denied {
        self.denied(operation, "group", &self.group)
    }

    fn denied(&self, operation: &'static str, resource: &'static str, name: &str) -> Denied {
        let principal = match (&self.user, &self.certificate) {
            (Some(user), _) if self.protocol.starts_with("SASL") => format!("User:{user}"),
            (_, Some(certificate)) if self.protocol == "SSL" => format!("User:<subject of {certificate}>"),
            _ => "User:ANONYMOUS".to_owned(),
        };
        Denied { brokers: self.brokers.clone(), principal, operation, resource, name: name.to_owned() }
    }
}

/// The client's words without the connection's name before them and the time after them.
fn essence(words: &str) -> String {
    let words = match words.split_once(": ") {
        Some((connection, rest)) if connection.contains("://") => rest,
        _ => words,
    };
    words.rsplit_once(" (after ").map_or(words, |(before, _)| before).to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The claim of a client with these properties and a password that must never be seen.
    fn claim(properties: &[(&str, &str)]) -> Claim {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "kafka:9093").set("group.id", "weir-p").set("sasl.password", "hunter2");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        Claim::of(&config)
    }

    /// The beginning of what is said, none where it is no refusal.
    #[track_caller]
    fn check(properties: &[(&str, &str)], code: Option<RDKafkaErrorCode>, words: &str, said: &str) {
        let refusal = claim(properties).refusal(code, words).map(|refusal| refusal.to_string()).unwrap_or_default();
        assert!(refusal.starts_with(said) && refusal.is_empty() == said.is_empty(), "{words}: {refusal}");
    }

    #[test]
    fn what_the_client_says_is_told_apart() {
        use RDKafkaErrorCode::{Authentication, BrokerTransportFailure, SSL};
        let sasl = [("security.protocol", "sasl_ssl"), ("sasl.mechanisms", "PLAIN"), ("sasl.username", "ana")];
        let wrong = "sasl_ssl://kafka:9093/bootstrap: SASL authentication error: no (after 3ms in state AUTH_REQ)";
        let said = "kafka:9093 refuses user \"ana\" with SASL mechanism PLAIN (SASL authentication error: no);";
        check(&sasl, Some(Authentication), wrong, said);

        let asked = "kafka:9093/bootstrap: Disconnected: connection closed (after 1ms in state APIVERSION_QUERY)";
        let up = "ssl://kafka:9093/bootstrap: Disconnected: connection closed by peer (after 1ms in state UP)";
        let tls = [("security.protocol", "ssl")];
        check(
            &[],
            None,
            asked,
            "kafka:9093 closed the connection: it most likely speaks TLS, and `security.protocol` is \"PLAINTEXT\"",
        );
        check(&tls, None, asked, "");
        check(&tls, None, up, "kafka:9093 closed the connection: it most likely wants a user and a password");
        check(&sasl, None, up, "");
        // Reported as an error, a closed connection is just that.
        check(&[], Some(BrokerTransportFailure), asked, "");
        check(&tls, Some(BrokerTransportFailure), up, "");

        let plain = "SSL handshake failed: error:0A00010B:SSL routines::wrong version number";
        check(&tls, Some(SSL), plain, "kafka:9093 does not answer in TLS, and `security.protocol` is \"SSL\"");
        let verify = "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed";
        let trusted = [("security.protocol", "ssl"), ("ssl.ca.location", "/ca.pem")];
        check(
            &trusted,
            Some(SSL),
            verify,
            "the certificate of kafka:9093 is not trusted: most likely it was not signed by /ca.pem",
        );
        let alert = "Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate";
        check(&tls, Some(BrokerTransportFailure), alert, "kafka:9093 wants a client's certificate");
        let own = [("security.protocol", "ssl"), ("ssl.certificate.location", "/weir.pem")];
        check(
            &own,
            Some(BrokerTransportFailure),
            alert,
            "kafka:9093 refuses the client's certificate /weir.pem (Receive",
        );
        check(&tls, Some(SSL), "no shared cipher", "TLS with kafka:9093 fails (no shared cipher);");

        let nobody = "kafka:9093/bootstrap: Connect to ipv4#127.0.0.1:9093 failed: Connection refused";
        check(&[], Some(BrokerTransportFailure), nobody, "");
    }

    #[test]
    fn a_denied_right_is_named_with_whom_it_is_for() {
        use RDKafkaErrorCode::{GroupAuthorizationFailed, TopicAuthorizationFailed, UnknownTopic};
        let principal = |properties: &[(&str, &str)]| claim(properties).denied_topic("READ", "t").principal;
        let user = ("sasl.username", "ana");
        assert_eq!(principal(&[("security.protocol", "sasl_ssl"), user]), "User:ana");
        assert_eq!(principal(&[("security.protocol", "ssl"), user]), "User:ANONYMOUS");
        let own = [("security.protocol", "ssl"), ("ssl.certificate.location", "/weir.pem")];
        assert_eq!(principal(&own), "User:<subject of /weir.pem>");
        let topic = claim(&[]).denied_by(TopicAuthorizationFailed, "DESCRIBE", "t").unwrap();
        assert_eq!((topic.resource, &*topic.name, topic.operation), ("topic", "t", "DESCRIBE"));
        let group = claim(&[]).denied_by(GroupAuthorizationFailed, "READ", "t").unwrap();
        assert_eq!((group.resource, &*group.name), ("group", "weir-p"));
        assert_eq!(claim(&[]).denied_by(UnknownTopic, "READ", "t"), None);
    }

    #[test]
    fn passwords_and_keys_are_no_part_of_it() {
        let secret = [("ssl.key.pem", "hunter2"), ("ssl.key.password", "hunter2"), ("ssl.certificate.pem", "hunter2")];
        assert!(!format!("{:?}", claim(&secret)).contains("hunter2"));
        let mut config = ClientConfig::new();
        config.set("sasl.password", "hunter2").set("ssl.key.location", "hunter2").set("ssl.ca.location", "/ca.pem");
        let shown = any_host(&config);
        assert!(!format!("{shown:?}").contains("hunter2"));
        assert_eq!([shown.get("ssl.ca.location"), shown.get("security.protocol")], [Some("/ca.pem"), Some("SSL")]);
    }
}
