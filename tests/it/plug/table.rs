//! What became of the faults, as a table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::time::Duration;

use crate::harness::setup;

const BEGIN: &str = "<!-- the table: tests/pull-the-plug --save -->\n";
const END: &str = "<!-- the table's end -->\n";

/// A kind of fault.
#[derive(Debug, Default)]
struct Row {
    lost: u64,
    twice: u64,
    aborted: u64,
    recoveries: Vec<Duration>,
}

/// A row for each kind of fault.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<usize, (&'static str, Row)>);

impl Table {
    /// One more fault; `place` is its row's.
    pub(super) fn fault(&mut self, place: usize, name: &'static str, recovery: Duration) {
        self.row(place, name).recoveries.push(recovery);
    }

    /// What is wrong after faults of this kind.
    pub(super) fn wrong(&mut self, place: usize, name: &'static str, [lost, twice, aborted]: [u64; 3]) {
        let row = self.row(place, name);
        row.lost += lost;
        row.twice += twice;
        row.aborted += aborted;
    }

    pub(super) fn add(&mut self, other: Table) {
        for (place, (name, row)) in other.0 {
            self.wrong(place, name, [row.lost, row.twice, row.aborted]);
            self.row(place, name).recoveries.extend(row.recoveries);
        }
    }

    pub(super) fn faults(&self) -> usize {
        self.0.values().map(|(_, row)| row.recoveries.len()).sum()
    }

    pub(super) fn wrong_altogether(&self) -> u64 {
        self.0.values().map(|(_, row)| row.lost + row.twice + row.aborted).sum()
    }

    fn row(&mut self, place: usize, name: &'static str) -> &mut Row {
        &mut self.0.entry(place).or_insert_with(|| (name, Row::default())).1
    }

    /// As Markdown.
    pub(super) fn text(&self) -> String {
        let mut text = String::from(
            "| fault | count | lost | twice | aborted seen | recovery, median | recovery, longest |\n\
             |---|---:|---:|---:|---:|---:|---:|\n",
        );
        let mut all = Row::default();
        for (name, row) in self.0.values() {
            line(&mut text, name, row);
            all.lost += row.lost;
            all.twice += row.twice;
            all.aborted += row.aborted;
            all.recoveries.extend(&row.recoveries);
        }
        line(&mut text, "**all**", &all);
        text
    }

    /// Puts it into docs/faults.md, below how it was made.
    pub(super) fn save(&self, made: &str) {
        let path = setup::root().join("docs/faults.md");
        let text = fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(BEGIN).expect("docs/faults.md has the table's begin");
        let (_, after) = rest.split_once(END).expect("docs/faults.md has the table's end");
        fs::write(&path, format!("{before}{BEGIN}\n{made}\n\n{}\n{END}{after}", self.text())).unwrap();
    }
}

fn line(text: &mut String, name: &str, row: &Row) {
    let mut times: Vec<f64> = row.recoveries.iter().map(Duration::as_secs_f64).collect();
    times.sort_by(f64::total_cmp);
    let (count, median, longest) = (times.len(), times.get(times.len() / 2), times.last());
    let [median, longest] = [median, longest].map(|time| time.map_or("–".to_owned(), |time| format!("{time:.1} s")));
    let Row { lost, twice, aborted, .. } = row;
    writeln!(text, "| {name} | {count} | {lost} | {twice} | {aborted} | {median} | {longest} |").unwrap();
}
