//! `weir skip`: gives up offsets that can't be read any more, so that a stopped partition goes on. It needs a broker, and no
//! running weir.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{DONE, FAILED, FOUND, OutputFormat, fail, load, show};
use crate::model::Partition;

use crate::base::words;
use crate::base::words::number;
use crate::engine::skip::{SkipError, SkipTo, Skipped, skip as give_up};

/// Arguments of `weir skip`.
#[derive(Debug, Args)]
pub(crate) struct SkipArgs {
    /// The pipeline file
    file: PathBuf,
    /// The partition that is stopped
    #[arg(value_name = "TOPIC:PARTITION", value_parser = partition)]
    partition: Partition,
    /// The position to go on from: the first offset that is not given up; `earliest` for the first that Kafka still has;
    /// `readable` for the first that can be read, after the damaged batch there
    #[arg(long, value_name = "N", value_parser = position)]
    to: SkipTo,
    /// Give up offsets that Kafka still has, too, and that could be read
    #[arg(long)]
    readable: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

fn partition(text: &str) -> Result<Partition, String> {
    let parts = text.rsplit_once(':').and_then(|(topic, number)| Some((topic, number.parse::<i32>().ok()?)));
    match parts {
        Some((topic, partition)) if !topic.is_empty() && partition >= 0 => {
            Ok(Partition { topic: topic.into(), partition })
        }
        _ => Err("write the topic, a colon and the partition's number: air-quality-data:1".to_owned()),
    }
}

fn position(text: &str) -> Result<SkipTo, String> {
    match (text, text.parse::<i64>()) {
        ("earliest", _) => Ok(SkipTo::Earliest),
        ("readable", _) => Ok(SkipTo::Readable),
        (_, Ok(position)) if position >= 0 => Ok(SkipTo::Position(position)),
        _ => Err("write an offset, from 0, or `earliest`, or `readable`".to_owned()),
    }
}

/// Runs it. Exit code 1 says that it was refused or that the pipeline file is broken, 3 that Kafka or the disk failed.
pub(crate) fn skip(args: &SkipArgs) -> ExitCode {
    let pipeline = match load(&args.file) {
        Ok(pipeline) => pipeline,
        Err(code) => return code,
    };
    match give_up(&pipeline, &args.partition, args.to, args.readable) {
        Ok(skipped) => {
            match args.format {
                OutputFormat::Text => show(&text(&args.partition, &skipped)),
                OutputFormat::Json => show(&format!("{:#}\n", as_json(&args.partition, &skipped))),
            }
            ExitCode::from(DONE)
        }
        Err(error @ (SkipError::Broker(_) | SkipError::Ledger(_))) => fail(FAILED, &words::chain(&error)),
        Err(error) => fail(FOUND, &words::chain(&error)),
    }
}

fn text(partition: &Partition, skipped: &Skipped) -> String {
    let Skipped { dataset, from, to, readable, sequence } = skipped;
    let lost = from.abs_diff(*to);
    format!(
        "{partition}: gave up {} offset(s) from {from} to {to}, recorded as lost in entry {sequence}\n  \
         no longer in Kafka {:>12}\n  still in Kafka     {:>12}\n  dataset  {}\n\
         The partition goes on at {to}: by itself if its lane runs; if it is parked, start weir again, or stop and start the \
         pipeline.\n",
        number(lost),
        number(lost - readable),
        number(*readable),
        dataset.display()
    )
}

fn as_json(partition: &Partition, skipped: &Skipped) -> serde_json::Value {
    let Skipped { dataset, from, to, readable, sequence } = skipped;
    json!({
        "partition": partition.to_string(),
        "dataset": dataset,
        "from": from,
        "to": to,
        "lost": from.abs_diff(*to),
        "readable": readable,
        "sequence": sequence,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn partitions_and_positions_as_they_are_written() {
        assert_eq!(partition("a.b-c:12").unwrap().to_string(), "a.b-c:12");
        for wrong in ["a", ":1", "a:", "a:-1", "a:x"] {
            assert!(partition(wrong).is_err(), "{wrong}");
        }
        assert_eq!((position("earliest"), position("readable")), (Ok(SkipTo::Earliest), Ok(SkipTo::Readable)));
        assert_eq!(position("7"), Ok(SkipTo::Position(7)));
        assert!(position("-1").is_err() && position("latest").is_err());
    }

    #[test]
    fn what_people_are_told() {
        let skipped = Skipped { dataset: "/d/air".into(), from: 1_000, to: 3_500, readable: 500, sequence: 12 };
        insta::assert_snapshot!(text(&partition("t:1").unwrap(), &skipped), @r"
        t:1: gave up 2,500 offset(s) from 1000 to 3500, recorded as lost in entry 12
          no longer in Kafka        2,000
          still in Kafka              500
          dataset  /d/air
        The partition goes on at 3500: by itself if its lane runs; if it is parked, start weir again, or stop and start the pipeline.
        ");
    }
}
