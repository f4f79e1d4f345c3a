//! A column's rules on a value, compiled once.

use std::borrow::Borrow;

use crate::decode::{Problem, Rule};
use crate::model::pipeline::{Column, Value};

/// Rules on values of a type `W`; `missing` and `one_of` are sorted.
#[derive(Debug)]
pub(crate) struct Rules<W> {
    missing: Vec<W>,
    min: Option<W>,
    max: Option<W>,
    one_of: Vec<W>,
}

/// What the rules say of a value that breaks none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is a value.
    Value,
    /// It stands for "no value".
    Missing,
}

impl<W> Rules<W> {
    /// No rules.
    pub(crate) fn none() -> Self {
        Rules { missing: Vec::new(), min: None, max: None, one_of: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.min.is_none() && self.max.is_none() && self.one_of.is_empty()
    }
}

impl<W: PartialOrd> Rules<W> {
    /// The rules of a column whose values `constant` reads.
    ///
    /// # Panics
    /// When the definition has a value of another type, which its own check refuses.
    pub(crate) fn new(column: &Column, constant: impl Fn(&Value) -> Option<W>) -> Self {
        let one = |value: &Value| {
            let of_type = constant(value);
            assert!(of_type.is_some(), "column {}: {value:?} is no {:?}", column.name, column.kind);
            of_type
        };
        let many = |values: &[Value]| {
            let mut typed: Vec<W> = values.iter().filter_map(one).collect();
            typed.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
            typed
        };
        Rules {
            missing: many(&column.missing),
            min: column.min.as_ref().and_then(one),
            max: column.max.as_ref().and_then(one),
            one_of: many(&column.one_of),
        }
    }

    /// Checks a value; `show` writes one for people.
    #[inline]
    pub(crate) fn check<Q>(&self, value: &Q, show: impl Fn(&Q) -> String) -> Result<Verdict, Problem>
    where
        Q: PartialOrd + ?Sized,
        W: Borrow<Q>,
    {
        if contains(&self.missing, value) {
            return Ok(Verdict::Missing);
        }
        match self.broken(value) {
            None => Ok(Verdict::Value),
            Some(rule) => Err(self.problem(rule, value, show)),
        }
    }

    /// The first rule that a value breaks.
    #[inline]
    fn broken<Q>(&self, value: &Q) -> Option<Rule>
    where
        Q: PartialOrd + ?Sized,
        W: Borrow<Q>,
    {
        if let Some(min) = &self.min
            && value < min.borrow()
        {
            return Some(Rule::Min);
        }
        if let Some(max) = &self.max
            && value > max.borrow()
        {
            return Some(Rule::Max);
        }
        (!self.one_of.is_empty() && !contains(&self.one_of, value)).then_some(Rule::OneOf)
    }

    /// How a value breaks a rule, in words.
    #[cold]
    fn problem<Q>(&self, broken: Rule, value: &Q, show: impl Fn(&Q) -> String) -> Problem
    where
        Q: ?Sized,
        W: Borrow<Q>,
    {
        let bound = |bound: &Option<W>| bound.as_ref().map(|bound| show(bound.borrow())).unwrap_or_default();
        let expected = match broken {
            Rule::Min => format!("at least {}", bound(&self.min)),
            Rule::Max => format!("at most {}", bound(&self.max)),
            _ => self.choices(&show),
        };
        Problem::expected(broken, &expected, &show(value))
    }

    /// The values allowed, as far as people want to read them.
    fn choices<Q: ?Sized>(&self, show: impl Fn(&Q) -> String) -> String
    where
        W: Borrow<Q>,
    {
        const SHOWN: usize = 8;
        let mut shown: Vec<String> = self.one_of.iter().take(SHOWN).map(|value| show(value.borrow())).collect();
        if self.one_of.len() > SHOWN {
            shown.push(format!("{} more", self.one_of.len() - SHOWN));
        }
        format!("one of {}", shown.join(", "))
    }
}

/// Whether a value is in a sorted list.
#[inline]
fn contains<Q, W>(sorted: &[W], value: &Q) -> bool
where
    Q: PartialOrd + ?Sized,
    W: Borrow<Q>,
{
    let order = |listed: &W| listed.borrow().partial_cmp(value).unwrap_or(std::cmp::Ordering::Less);
    match sorted {
        [] => false,
        [one] => one.borrow() == value,
        _ => sorted.binary_search_by(order).is_ok(),
    }
}
