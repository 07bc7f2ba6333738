//! Reading one table of a policy file key by key: what is wrong is noted with its line and reading goes on, so that
//! an operator mends everything at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Something in a policy file that is wrong, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
pub struct Problem {
    /// Counted from 1; 0 where it is about the whole file.
    pub line: usize,
    /// The key as a path, lists counted from 0: `shaping[2].rate`.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.key.as_str()) {
            (0, "") => f.write_str(&self.message),
            (0, key) => write!(f, "{key}: {}", self.message),
            (line, "") => write!(f, "line {line}: {}", self.message),
            (line, key) => write!(f, "line {line}: {key}: {}", self.message),
        }
    }
}

/// What reading a file leaves behind beside the values: where each key stands, and what is wrong.
pub(crate) struct Notes<'t> {
    text: &'t str,
    lines: RefCell<BTreeMap<String, usize>>,
    problems: RefCell<Vec<Problem>>,
    #[cfg(test)]
    asked_for: RefCell<Vec<&'static str>>,
}

impl<'t> Notes<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            text,
            lines: RefCell::default(),
            problems: RefCell::default(),
            #[cfg(test)]
            asked_for: RefCell::default(),
        }
    }

    /// The line of an offset into the text, from 1.
    pub(crate) fn line_at(&self, offset: usize) -> usize {
        self.text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count() + 1
    }

    /// The line of a key, or of the nearest table around it; 0 if none of it stands in the file.
    pub(crate) fn line_of(&self, key: &str) -> usize {
        let lines = self.lines.borrow();
        let mut path = key;
        loop {
            if let Some(line) = lines.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return 0,
            }
        }
    }

    /// Whether a key stands in the file.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.lines.borrow().contains_key(key)
    }

    pub(crate) fn place(&self, key: &str, offset: usize) {
        self.lines.borrow_mut().insert(key.to_owned(), self.line_at(offset));
    }

    /// Notes a problem at a key.
    pub(crate) fn problem(&self, key: &str, message: impl Into<String>) {
        let problem = Problem { line: self.line_of(key), key: key.to_owned(), message: message.into() };
        self.problems.borrow_mut().push(problem);
    }

    /// Every key that was asked for.
    #[cfg(test)]
    pub(crate) fn asked_for(self) -> Vec<&'static str> {
        self.asked_for.into_inner()
    }

    /// Everything noted, in the order of the file.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort();
        problems.dedup();
        problems
    }
}

/// A table being read. Every key that is asked for counts as known; `done` refuses the others.
pub(crate) struct Section<'d, 't> {
    path: String,
    table: Option<&'d DeTable<'t>>,
    notes: &'d Notes<'t>,
    known: Vec<&'static str>,
}

/// A value or what is wrong with it.
pub(crate) type Read<T> = Result<T, String>;

impl<'d, 't> Section<'d, 't> {
    pub(crate) fn root(table: &'d DeTable<'t>, notes: &'d Notes<'t>) -> Self {
        Self { path: String::new(), table: Some(table), notes, known: Vec::new() }
    }

    /// The path of a key in this table.
    pub(crate) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a problem at a key of this table; at the table itself with an empty one.
    pub(crate) fn problem(&self, key: &str, message: impl Into<String>) {
        let path = if key.is_empty() { self.path.clone() } else { self.key(key) };
        self.notes.problem(&path, message);
    }

    fn raw(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'t>>> {
        self.known.push(key);
        #[cfg(test)]
        self.notes.asked_for.borrow_mut().push(key);
        let (spanned, value) = self.table?.iter().find(|(k, _)| k.get_ref() == key)?;
        self.notes.place(&self.key(key), spanned.span().start);
        Some(value)
    }

    /// A key's value, if it is there and right.
    pub(crate) fn get<T>(&mut self, key: &'static str, read: impl Fn(&DeValue<'t>) -> Read<T>) -> Option<T> {
        let value = self.raw(key)?;
        match read(value.get_ref()) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(key, message);
                None
            }
        }
    }

    /// Puts a key's value into its place, which keeps its default otherwise.
    pub(crate) fn set<T>(
        &mut self,
        key: &'static str,
        place: &mut T,
        read: impl Fn(&DeValue<'t>) -> Read<T>,
    ) {
        if let Some(value) = self.get(key, read) {
            *place = value;
        }
    }

    /// A list's values, if all are right; each that is wrong is noted by itself. One value counts as a list of it.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&DeValue<'t>) -> Read<T>,
    ) -> Option<Vec<T>> {
        let value = self.raw(key)?;
        let Some(items) = value.get_ref().as_array() else {
            return match read(value.get_ref()) {
                Ok(one) => Some(vec![one]),
                Err(message) => {
                    self.problem(key, format!("{message}, or a list of such"));
                    None
                }
            };
        };
        let mut values = Vec::new();
        for (n, item) in items.iter().enumerate() {
            let path = format!("{}[{n}]", self.key(key));
            self.notes.place(&path, item.span().start);
            match read(item.get_ref()) {
                Ok(value) => values.push(value),
                Err(message) => self.notes.problem(&path, message),
            }
        }
        (values.len() == items.len()).then_some(values)
    }

    /// A table within this one; an empty one if it is absent.
    pub(crate) fn table(&mut self, key: &'static str) -> Section<'d, 't> {
        let value = self.raw(key);
        let table = value.and_then(|value| value.get_ref().as_table());
        if value.is_some() && table.is_none() {
            self.problem(key, format!("is a table: write [{}]", self.key(key)));
        }
        Section { path: self.key(key), table, notes: self.notes, known: Vec::new() }
    }

    /// The tables of a list of tables.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Section<'d, 't>> {
        let Some(value) = self.raw(key) else { return Vec::new() };
        let items = value.get_ref().as_array();
        if items.is_none() {
            self.problem(key, format!("is a list: write [[{}]]", self.key(key)));
        }
        let mut sections = Vec::new();
        for (n, item) in items.into_iter().flatten().enumerate() {
            let path = format!("{}[{n}]", self.key(key));
            self.notes.place(&path, item.span().start);
            match item.get_ref().as_table() {
                Some(table) => {
                    sections.push(Section { path, table: Some(table), notes: self.notes, known: Vec::new() });
                }
                None => self.notes.problem(&path, format!("is a table: write [[{}]]", self.key(key))),
            }
        }
        sections
    }

    /// Whether a key stands in the table, right or wrong.
    pub(crate) fn mentions(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.iter().any(|(k, _)| k.get_ref() == key))
    }

    /// Whether the table stands in the file.
    pub(crate) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Refuses the keys that nobody asked for.
    pub(crate) fn done(self) {
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let path = self.key(name);
            self.notes.place(&path, key.span().start);
            let near = self.known.iter().map(|known| (distance(known, name), *known)).min();
            let advice = match near {
                Some((1..=2, near)) => format!("did you mean `{near}`?"),
                _ => format!("known here: {}", self.known.join(", ")),
            };
            self.notes.problem(&path, format!("unknown key; {advice}"));
        }
    }
}

/// How many letters two words differ by (Levenshtein); long words are cut, they are no slips of a known one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(40).collect(), b.chars().take(40).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let swap = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = swap.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}
