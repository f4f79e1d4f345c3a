//! Codes of errors and of reject rules: one for each kind, which people search for and programs compare.
//!
//! `WEIR-`, a letter for the area, and a number from 1 on in it. A code never changes its meaning and is never used again;
//! a new kind of error gets the next number of its area.
//!
//! | letter | area |
//! |---|---|
//! | C | the commands that take care of a dataset: skip, repair, backup |
//! | E | the engine: panics and threads |
//! | F | files that a lane writes |
//! | H | the HTTP server and its answers |
//! | K | Kafka: who answers, and who lets weir in |
//! | L | the ledger |
//! | P | what people write: pipeline files and settings |
//! | R | rules that a rejected record breaks |
//! | S | where a lane starts, and whether the topic is still the same |

use std::error::Error;
use std::fmt;

/// An error that has a code.
pub trait Coded: Error {
    /// The code of its kind; an error that only passes another one on has that one's.
    fn code(&self) -> Code;
}

/// An error of a floor above, held by one below.
impl Error for Box<dyn Coded + Send + Sync> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        (**self).source()
    }
}

macro_rules! codes {
    ($($name:ident $id:literal $title:literal,)+) => {
        /// A kind of error or reject.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $(#[doc = $title] $name,)+
        }

        impl Code {
            /// All codes, in the order of their ids.
            pub const ALL: &[Code] = &[$(Code::$name,)+];

            /// What is shown: `WEIR-L005`.
            pub const fn id(self) -> &'static str {
                match self {
                    $(Code::$name => concat!("WEIR-", $id),)+
                }
            }

            /// What it means, in a line.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Code::$name => $title,)+
                }
            }
        }
    };
}

codes! {
    SkipTopicNotRead "C001" "The pipeline does not read the topic that is to be skipped",
    SkipNoPartition "C002" "The partition that is to be skipped does not exist",
    SkipNoChain "C003" "The dataset has nothing of the partition that is to be skipped",
    SkipBehind "C004" "The ledger is already past the position to skip to",
    SkipPastEnd "C005" "The position to skip to is after the log's end",
    SkipCanBeRead "C006" "The batch that is to be skipped can be read",
    SkipTooLarge "C007" "The batch that is to be skipped is not known to be damaged",
    SkipReadable "C008" "Kafka still has records that are to be skipped",
    SkipGoesOn "C009" "Another weir commits records of the partition that is to be skipped",
    RepairOtherBackup "C010" "The backup is of another dataset",
    BackupNotEmpty "C011" "The folder for the backup is not empty",
    BackupInside "C012" "The backup and the dataset are one inside the other",
    BackupDamaged "C013" "The dataset to back up is damaged",

    Panicked "E001" "A part of weir panicked",
    NoThread "E002" "The operating system gives no more threads",

    FileNotCreated "F001" "A staged file cannot be created",
    FileNotWritten "F002" "A staged file cannot be written",
    RowsNotDivided "F003" "Rows cannot be divided by their hive keys",
    KeyNoColumn "F004" "A hive key is no column",
    KeyType "F005" "A hive key's column has a type that no folder can be named after",
    KeyName "F006" "A hive key has a name that no folder can have",
    KeyValue "F007" "A hive key has a value that no folder can be named after",
    TooManyKeys "F008" "There are too many hive keys",

    HttpNotBound "H001" "The HTTP server cannot listen on its address",
    HttpKey "H002" "The key of the HTTP server's certificate cannot be read",
    HttpTls "H003" "The certificate or key of the HTTP server cannot be used",
    NoHost "H004" "A request names no host",
    OtherHost "H005" "A request names a host that is none of weir's",
    OtherOrigin "H006" "A page of another origin or site asks",
    NoToken "H007" "A request has no token",
    UnknownToken "H008" "A request has a token that is none of weir's",
    TokenMayOnlyRead "H009" "A request needs the control token",
    BadRequest "H010" "A request has a mistake",
    NothingHere "H011" "No route has the path of a request",
    MethodNotAllowed "H012" "The path of a request takes other methods",
    NoSuchPipeline "H013" "There is no such pipeline",
    NotReading "H014" "The pipeline reads nothing",
    NotCommitted "H015" "Not every lane could commit",
    NoWindows "H016" "The pipeline has no windows of time",
    RejectsUnreadable "H017" "A file of rejects cannot be read",
    NotReloaded "H018" "The pipeline files could not be read again",
    TooManyAnswers "H019" "Too many answers or streams are on their way",
    NoAnswer "H020" "The service does not answer, or is stopping",

    KafkaClient "K001" "The Kafka client cannot be made",
    KafkaUnreachable "K002" "No broker answers",
    KafkaDenied "K003" "Kafka denies access to a topic or group",
    NoTopic "K004" "The topic does not exist",
    KafkaRefused "K005" "Kafka refuses a question about a partition",
    NoClusterId "K006" "The cluster does not tell its id",
    Credentials "K007" "Kafka refuses the user or the password",
    NoCredentials "K008" "Kafka most likely wants a user and a password",
    NoTls "K009" "Kafka most likely speaks TLS, and the client does not",
    OnlyTls "K010" "Kafka does not speak TLS, and the client does",
    UntrustedBroker "K011" "The broker's certificate is not trusted",
    BrokerOfAnotherName "K012" "The broker's certificate is for another host name",
    NoCertificate "K013" "Kafka wants a client's certificate",
    Certificate "K014" "Kafka refuses the client's certificate",
    Tls "K015" "TLS with the broker fails",

    LedgerIo "L001" "A file or folder of the dataset cannot be read or written",
    LedgerNotDurable "L002" "An earlier fsync failed",
    LedgerStrange "L003" "Something in the dataset is no plain file or folder",
    LedgerFenced "L004" "Another writer has written the entry",
    LedgerHole "L005" "An entry is missing between two others",
    LedgerBroken "L006" "An entry does not start where the one before it ends",
    LedgerUnreadable "L007" "A file of the ledger is not readable as one",
    LedgerFormat "L008" "The ledger was written by a newer weir",
    FileLost "L009" "A file that an entry names is lost",
    FileDiffers "L010" "A file is not the one that an entry names",
    OtherDataset "L011" "The dataset was made with another definition",
    OtherTopic "L012" "The dataset holds records of an earlier topic of this name",
    NotADataset "L013" "The folder is no dataset",
    LedgerForked "L014" "An entry names another one as the entry before it than is there",
    NotParquet "L015" "The file is not Parquet",

    PipelineFile "P001" "The pipeline file has mistakes",
    NoSuchEnvironment "P002" "There is no file of settings for WEIR_ENV",
    SettingsUnreadable "P003" "The settings cannot be read",
    SettingsWrong "P004" "The settings have mistakes",

    RejectJson "R001" "The payload is not JSON",
    RejectDepth "R002" "The payload is nested too deeply",
    RejectUtf8 "R003" "The payload is not UTF-8",
    RejectTrailing "R004" "Something follows the payload's value",
    RejectDuplicate "R005" "A field stands twice in its object",
    RejectType "R006" "A value is of another type than its column",
    RejectRange "R007" "A value is out of its type's range",
    RejectTime "R008" "A text is no time in the column's format",
    RejectGap "R009" "A daylight-saving change skips a local time",
    RejectFold "R010" "A daylight-saving change repeats a local time",
    RejectRequired "R011" "A required value is missing",
    RejectMin "R012" "A value is below the column's `min`",
    RejectMax "R013" "A value is above the column's `max`",
    RejectOneOf "R014" "A value is not one of the column's `one_of`",
    RejectPattern "R015" "A text does not match the column's `pattern`",
    RejectMaxLength "R016" "A text is longer than the column's `max_length`",
    RejectFolderName "R017" "A hive key's value cannot name a folder",
    RejectUnknownField "R018" "No column reads a field of the payload",
    RejectMaxAhead "R019" "An event time is too far after the record's timestamp",

    StartDeleted "S001" "Kafka has deleted records that were not read",
    StartNowhere "S002" "The log does not have the position to start at",
    StartPastEnd "S003" "The ledger ends after the log's end",
    StartCut "S004" "The brokers lost a record that the dataset has",
    StartReplaced "S005" "The brokers lost what was before the ledger's end",
    RunShort "S006" "The log ends before the position that the run was to read to",
    StartBehind "S007" "The group has committed a position after the ledger's end",
    NothingCommitted "S008" "The group has no committed offset to start at",
    TopicReplaced "S009" "The topic was deleted and made again while it was read",
    TopicUnconfirmed "S010" "No broker confirms that the topic is still the same",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What a code means never changes, so this list only grows.
    #[test]
    fn codes_stay() {
        let line = |code: &Code| format!("{code} {}\n", code.title());
        insta::assert_snapshot!(Code::ALL.iter().map(line).collect::<String>());
    }

    /// Ids have a letter and three digits; in each area they go up by one from 1.
    #[test]
    fn ids_ascend_without_a_gap() {
        let split = |code: &Code| {
            let (area, number) = code.id().strip_prefix("WEIR-").unwrap().split_at(1);
            assert!(area.chars().all(|letter| letter.is_ascii_uppercase()) && number.len() == 3, "{code}");
            (area.to_owned(), number.parse::<u32>().unwrap())
        };
        let ids: Vec<_> = Code::ALL.iter().map(split).collect();
        assert!(ids[0].1 == 1);
        for (before, after) in ids.iter().zip(&ids[1..]) {
            let next_area = after.0 > before.0 && after.1 == 1;
            assert!(next_area || after.0 == before.0 && after.1 == before.1 + 1, "{after:?} after {before:?}");
        }
    }

    #[test]
    fn titles_are_one_line_and_each_is_there_once() {
        for (index, code) in Code::ALL.iter().enumerate() {
            let title = code.title();
            assert!(!title.is_empty() && title.len() <= 90 && !title.contains('\n') && !title.ends_with('.'), "{code}");
            assert!(Code::ALL[..index].iter().all(|other| other.title() != title), "{code}: {title}");
        }
    }

    /// A code that no error gives is none.
    #[test]
    fn each_code_is_given_by_something() {
        fn read(folder: &Path, text: &mut String) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    read(&path, text);
                } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("codes.rs") {
                    *text += &std::fs::read_to_string(&path).unwrap();
                }
            }
        }
        let mut text = String::new();
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
        let given: std::collections::HashSet<&str> = text
            .split("Code::")
            .skip(1)
            .map(|after| after.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default())
            .collect();
        let unused: Vec<_> = Code::ALL.iter().filter(|code| !given.contains(&*format!("{code:?}"))).collect();
        assert!(unused.is_empty(), "{unused:?}");
    }
}
