//! Why brokers don't let this client in, or deny it a topic or its group: in words for the person who has to mend it.
//!
//! The client's error codes decide, where it has them. It has none for clients and brokers that expect different protocols of
//! each other, nor for whose certificate is at fault: there its own words do, of the version that Cargo.toml pins, and
//! tests on a real broker have each of them. Passwords and keys never come near: a [`Claim`] doesn't have them.

use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;

/// Who this client says it is, and what it trusts.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// `bootstrap.servers`.
    pub(super) brokers: String,
    group: String,
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
pub(super) fn any_host(config: &ClientConfig) -> ClientConfig {
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
    pub(super) fn of(config: &ClientConfig) -> Self {
        let get = |name: &str| config.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
        let inline = |name: &str| config.get(name).map(|_| format!("`{name}`"));
        Claim {
            brokers: get("bootstrap.servers").unwrap_or_default(),
            group: get("group.id").unwrap_or_default(),
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
    pub(super) fn refusal(&self, code: Option<RDKafkaErrorCode>, words: &str) -> Option<Refusal> {
        let brokers = self.brokers.clone();
        let protocol = self.protocol.clone();
        let closed_in = |state| words.contains("Disconnected") && words.contains(&format!(" in state {state}"));
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
    pub(super) fn denied_by(&self, code: RDKafkaErrorCode, operation: &'static str, topic: &str) -> Option<Denied> {
        match code {
            RDKafkaErrorCode::TopicAuthorizationFailed => Some(self.denied_topic(operation, topic)),
            RDKafkaErrorCode::GroupAuthorizationFailed => Some(self.denied_group(operation)),
            _ => None,
        }
    }

    pub(super) fn denied_topic(&self, operation: &'static str, topic: &str) -> Denied {
        self.denied(operation, "topic", topic)
    }

    pub(super) fn denied_group(&self, operation: &'static str) -> Denied {
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
