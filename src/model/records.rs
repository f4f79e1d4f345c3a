//! Records as they came from Kafka.

/// Records as they came from Kafka, column by column; all values stand end to end in one buffer.
#[derive(Debug, Default)]
pub struct RawRecords {
    /// All values, end to end.
    pub values: Vec<u8>,
    /// Where each record's value ends in `values`; it starts where the one before it ended.
    pub value_ends: Vec<usize>,
    /// Which records have no value at all (tombstones), by index, ascending.
    pub tombstones: Vec<usize>,
    /// Each record's offset, ascending.
    pub offsets: Vec<i64>,
    /// Each record's Kafka timestamp in milliseconds since 1970, where it has one.
    pub timestamps: Vec<Option<i64>>,
    /// All keys, end to end.
    pub keys: Vec<u8>,
    /// Where each record's key ends in `keys`, and whether it has one.
    pub key_ends: Vec<(usize, bool)>,
    /// Headers of the records that have any: index, and the headers in order.
    pub headers: Vec<(usize, Headers)>,
    /// Bytes of all headers, about.
    pub header_bytes: usize,
}

/// A record's headers: names and values, in order.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

impl RawRecords {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The value of the record at `index`; empty for a tombstone.
    pub fn value(&self, index: usize) -> &[u8] {
        &self.values[self.value_at(index)]
    }

    /// Where in `values` the value of the record at `index` is.
    pub fn value_at(&self, index: usize) -> std::ops::Range<usize> {
        let start = if index == 0 { 0 } else { self.value_ends[index - 1] };
        start..self.value_ends[index]
    }

    /// The key of the record at `index`.
    pub fn key(&self, index: usize) -> Option<&[u8]> {
        let start = if index == 0 { 0 } else { self.key_ends[index - 1].0 };
        let (end, present) = self.key_ends[index];
        present.then(|| &self.keys[start..end])
    }

    /// The headers of the record at `index`, when it has any.
    pub fn headers(&self, index: usize) -> Option<&Headers> {
        let found = self.headers.binary_search_by_key(&index, |entry| entry.0).ok()?;
        Some(&self.headers[found].1)
    }

    /// Returns an empty batch with room for this many records, bytes of values and bytes of keys.
    pub fn with_room(records: usize, values: usize, keys: usize) -> RawRecords {
        RawRecords {
            values: Vec::with_capacity(values),
            value_ends: Vec::with_capacity(records),
            offsets: Vec::with_capacity(records),
            timestamps: Vec::with_capacity(records),
            keys: Vec::with_capacity(keys),
            key_ends: Vec::with_capacity(records),
            ..RawRecords::default()
        }
    }

    /// Adds a record.
    pub fn push(&mut self, offset: i64, timestamp: Option<i64>, key: Option<&[u8]>, value: Option<&[u8]>) {
        if value.is_none() {
            self.tombstones.push(self.offsets.len());
        }
        self.values.extend_from_slice(value.unwrap_or_default());
        self.value_ends.push(self.values.len());
        self.keys.extend_from_slice(key.unwrap_or_default());
        self.key_ends.push((self.keys.len(), key.is_some()));
        self.offsets.push(offset);
        self.timestamps.push(timestamp);
    }

    /// Bytes that this holds, about.
    pub fn bytes(&self) -> usize {
        const FIXED: usize = 8 + 8 + 16 + 16;
        self.values.len() + self.keys.len() + self.header_bytes + self.offsets.len() * FIXED
    }
}
