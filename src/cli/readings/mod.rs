//! The air-quality readings that `weir demo` and `weir produce` send: real ones, and a few that are broken on purpose.
//!
//! The file is the published one, unchanged; source and licence are in `README.md` beside it. A reading's JSON holds the
//! numbers as they were published: only the decimal comma becomes a point, and -200 ("missing") stays. The engine knows
//! nothing of all this.

use std::io::Read;

use flate2::read::GzDecoder;

/// The station that all shipped readings are from; the published file has no such column.
pub const STATION: &str = "IT-01";

const CSV_GZ: &[u8] = include_bytes!("air_quality.csv.gz");

/// The JSON fields after `station_id` and `timestamp`, in the published order.
const FIELDS: [&str; 13] = [
    "co_gt",
    "pt08_s1_co",
    "nmhc_gt",
    "c6h6_gt",
    "pt08_s2_nmhc",
    "nox_gt",
    "pt08_s3_nox",
    "no2_gt",
    "pt08_s4_no2",
    "pt08_s5_o3",
    "t",
    "rh",
    "ah",
];

/// One hourly reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// When, by the device's clock: `2004-03-10T18:00:00`, without a zone.
    pub timestamp: String,
    /// The numbers as JSON writes them, in the published order (`FIELDS`).
    pub values: [String; 13],
}

impl Reading {
    /// The reading as a JSON object.
    pub fn to_json(&self, station_id: &str) -> Vec<u8> {
        let mut json = format!(r#"{{"station_id":"{station_id}","timestamp":"{}""#, self.timestamp);
        for (field, value) in FIELDS.iter().zip(&self.values) {
            json.push_str(&format!(r#","{field}":{value}"#));
        }
        json.push('}');
        json.into_bytes()
    }
}

/// A record that no pipeline should take for a reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Broken {
    /// What is wrong with it, in words.
    pub what: &'static str,
    /// The record's value.
    pub payload: Vec<u8>,
}

/// All 9,357 readings, in the order of time.
pub fn readings() -> Vec<Reading> {
    let mut csv = String::new();
    GzDecoder::new(CSV_GZ).read_to_string(&mut csv).expect("the file is part of the program and a test reads it");
    // The last lines hold separators only.
    csv.lines().skip(1).filter(|line| !line.starts_with(';')).map(parse).collect()
}

/// Ten records, each broken in a way of its own.
pub fn broken() -> Vec<Broken> {
    let good = String::from_utf8(readings()[0].to_json(STATION)).expect("a reading is ASCII");
    let replace = |from: &str, to: &str| {
        assert!(good.contains(from), "the reading has {from}");
        good.replacen(from, to, 1).into_bytes()
    };
    let mut invalid_utf8 = good.clone().into_bytes();
    invalid_utf8[STATION_AT] = 0xff;
    [
        ("truncated JSON", good.as_bytes()[..good.len() / 2].to_vec()),
        ("two JSON values in one record", format!("{good}{good}").into_bytes()),
        ("a text where a number belongs", replace(r#""co_gt":2.6"#, r#""co_gt":"high""#)),
        ("no timestamp", replace(r#""timestamp":"2004-03-10T18:00:00","#, "")),
        ("a timestamp that does not exist", replace("2004-03-10T18:00:00", "2004-02-30T25:61:00")),
        ("a station id of the wrong form", replace(STATION, "station one")),
        ("a humidity of 180 %", replace(r#""rh":48.9"#, r#""rh":180"#)),
        ("a byte that is not UTF-8", invalid_utf8),
        ("an empty payload", Vec::new()),
        ("10,000 opening brackets", vec![b'['; 10_000]),
    ]
    .map(|(what, payload)| Broken { what, payload })
    .into()
}

/// The readings of [`STATION`] as JSON with the broken records spread among them, evenly and always at the same places.
pub fn with_broken() -> Vec<Vec<u8>> {
    let readings = readings();
    let mut broken = broken().into_iter();
    let every = readings.len() / (broken.len() + 1);
    let mut records = Vec::new();
    for (index, reading) in readings.iter().enumerate() {
        records.push(reading.to_json(STATION));
        if (index + 1) % every == 0 {
            records.extend(broken.next().map(|record| record.payload));
        }
    }
    records
}

/// Where the first byte of the station's name stands in a reading's JSON.
const STATION_AT: usize = r#"{"station_id":""#.len();

/// `10/03/2004;18.00.00;2,6;…;;` to a reading.
fn parse(line: &str) -> Reading {
    let mut fields = line.split(';');
    let mut next = || fields.next().expect("every line has all fields: a test reads them all");
    let (date, time) = (next(), next());
    let (day, month, year) = (&date[..2], &date[3..5], &date[6..]);
    Reading {
        timestamp: format!("{year}-{month}-{day}T{}", time.replace('.', ":")),
        values: std::array::from_fn(|_| next().replace(',', ".")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reading_is_as_published() {
        assert_eq!(
            String::from_utf8(readings()[0].to_json(STATION)).unwrap(),
            r#"{"station_id":"IT-01","timestamp":"2004-03-10T18:00:00","co_gt":2.6,"pt08_s1_co":1360,"nmhc_gt":150,"#
                .to_owned()
                + r#""c6h6_gt":11.9,"pt08_s2_nmhc":1046,"nox_gt":166,"pt08_s3_nox":1056,"no2_gt":113,"#
                + r#""pt08_s4_no2":1692,"pt08_s5_o3":1268,"t":13.6,"rh":48.9,"ah":0.7578}"#
        );
    }

    #[test]
    fn there_are_9357_readings_an_hour_apart_and_all_are_json_numbers() {
        let readings = readings();
        assert_eq!(readings.len(), 9_357);
        assert_eq!(readings.last().unwrap().timestamp, "2005-04-04T14:00:00");
        let times: Vec<jiff::civil::DateTime> = readings.iter().map(|r| r.timestamp.parse().unwrap()).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == jiff::Span::new().hours(1).fieldwise()));
        for reading in &readings {
            let json: serde_json::Value = serde_json::from_slice(&reading.to_json(STATION)).unwrap();
            assert!(FIELDS.iter().all(|field| json[field].is_number()), "{json}");
        }
    }

    #[test]
    fn broken_records_are_spread_and_none_is_a_reading() {
        let good: std::collections::HashSet<_> = readings().iter().map(|r| r.to_json(STATION)).collect();
        let records = with_broken();
        assert_eq!(records.len(), 9_367);
        let at: Vec<usize> = (0..records.len()).filter(|&i| !good.contains(&records[i])).collect();
        assert_eq!(at.len(), 10);
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] > 800), "{at:?}");
        // Dealt out to three partitions in turn, each gets some.
        assert!((0..3).all(|partition| at.iter().any(|i| i % 3 == partition)), "{at:?}");
        assert_eq!(
            at.iter().map(|&i| records[i].clone()).collect::<Vec<_>>(),
            broken().into_iter().map(|b| b.payload).collect::<Vec<_>>()
        );
    }
}
