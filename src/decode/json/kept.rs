//! What no column reads of a record, put together again as one JSON object: each value where it stood, as it was written.
//!
//! An object on the way to a column has its unread fields there: `{"a":{"x":1,"y":2}}` with a column at `/a/x` gives
//! `{"a":{"y":2}}`. In an array, null stands in the place of an element of which nothing is left. Together with the columns
//! this is all of the record.

use std::ops::Range;

use crate::decode::json::reader::Segment;

/// One record's unread values, in the order in which they are found.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Members with a comma after each; what is open has no end yet.
    text: String,
    /// The objects and arrays that are open, from the outermost on.
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    place: Place,
    /// Elements that it has so far, where it is an array.
    elements: Option<usize>,
}

/// Where something stands in the object or array around it.
#[derive(Debug)]
enum Place {
    /// Its key is these bytes of the text.
    Key(Range<usize>),
    Element(usize),
}

impl Kept {
    /// Forgets the record.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.open.clear();
    }

    /// Adds a top-level field: its name and value, as written.
    pub(crate) fn field(&mut self, member: &str) {
        self.close_to(0);
        self.push(member);
    }

    /// Adds what stands in the object or array that a path leads to: a field, or an element of this index.
    pub(crate) fn below(&mut self, path: &[Segment], element: Option<usize>, member: &str) {
        let common = self.open.iter().zip(path).take_while(|(open, segment)| self.is_at(&open.place, segment)).count();
        self.close_to(common);
        for (at, segment) in path.iter().enumerate().skip(common) {
            let place = match segment {
                Segment::Key(key) => {
                    let start = self.text.len();
                    self.text.push_str(key);
                    self.text.push(':');
                    Place::Key(start..start + key.len())
                }
                Segment::Element(index) => {
                    self.fill_to(*index);
                    Place::Element(*index)
                }
            };
            let is_array = path.get(at + 1).map_or(element.is_some(), |next| matches!(next, Segment::Element(_)));
            self.text.push(if is_array { '[' } else { '{' });
            self.open.push(Open { place, elements: is_array.then_some(0) });
        }
        if let Some(index) = element {
            self.fill_to(index);
        }
        self.push(member);
    }

    /// All of it as an object; none where there is nothing.
    pub(crate) fn object(&mut self, out: &mut String) -> bool {
        self.close_to(0);
        let Some(members) = self.text.strip_suffix(',') else { return false };
        out.clear();
        out.extend(["{", members, "}"]);
        true
    }

    fn is_at(&self, place: &Place, segment: &Segment) -> bool {
        match (place, segment) {
            (Place::Key(range), Segment::Key(key)) => self.text[range.clone()] == **key,
            (Place::Element(one), Segment::Element(other)) => one == other,
            _ => false,
        }
    }

    /// Makes the innermost array end before this element, which comes next.
    fn fill_to(&mut self, index: usize) {
        let array = self.open.last_mut().and_then(|open| open.elements.as_mut());
        let elements = array.expect("an element stands in an array, which is open");
        (*elements..index).for_each(|_| self.text.push_str("null,"));
        *elements = index + 1;
    }

    fn close_to(&mut self, depth: usize) {
        while self.open.len() > depth
            && let Some(open) = self.open.pop()
        {
            // Something stands in it: it was opened for that.
            self.text.pop();
            self.text.push_str(if open.elements.is_some() { "]," } else { "}," });
        }
    }

    fn push(&mut self, member: &str) {
        self.text.push_str(member);
        self.text.push(',');
    }
}
