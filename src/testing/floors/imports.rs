//! What the modules of a crate import, by their text: `use` of every kind, and paths in code, in macros and in tests.
//!
//! A name that a module passes on by `use` is followed to where it is at home, so that no re-export hides an import. It does not
//! know what a macro makes of its tokens.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A module or an item, from the crate's root on.
pub(super) type Path = Vec<String>;

/// Something that a module names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Import {
    /// The module that names it.
    pub(super) by: Path,
    /// The module where it is at home.
    pub(super) of: Path,
    /// As it is written.
    pub(super) written: String,
}

/// The modules of a crate.
#[derive(Debug, Default)]
pub(super) struct Crate {
    modules: BTreeSet<Path>,
    /// By module, the names that it has by `use`, and what they stand for, as written.
    uses: BTreeMap<Path, BTreeMap<String, Path>>,
    /// By module, the paths in it, as written.
    named: Vec<(Path, Path)>,
    /// By module, the paths of which it names all that is there, as written, and whether it passes that on.
    globs: Vec<(Path, Path, bool)>,
}

impl Crate {
    /// Of files: the path below `src/`, and the text.
    ///
    /// # Panics
    /// When one is not Rust.
    pub(super) fn read<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Crate {
        let mut read = Crate::default();
        for (file, text) in files {
            let mut module: Path = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
                module.pop();
            }
            let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
            read.module(&module, tokens);
        }
        read
    }

    /// All modules.
    pub(super) fn modules(&self) -> impl Iterator<Item = &Path> {
        self.modules.iter()
    }

    /// What each module names of this crate, its own items left out.
    pub(super) fn imports(&self) -> Vec<Import> {
        let import = |by: &Path, path: &Path| {
            let of = self.home(&self.absolute(by, path)?);
            Some(Import { by: by.clone(), of, written: path.join("::") }).filter(|import| import.by != import.of)
        };
        let named = self.named.iter().filter_map(|(by, path)| import(by, path));
        let all_of = self.globs.iter().flat_map(|(by, path, _)| {
            let module = self.absolute(by, path).map(|path| self.home(&path));
            // A module of tests has what the module that it tests has.
            let module = module.filter(|module| !by.starts_with(module));
            let passed_on = module.iter().flat_map(|module| self.uses.get(module)).flat_map(BTreeMap::keys);
            let names = passed_on.map(|name| [path.as_slice(), std::slice::from_ref(name)].concat());
            names.chain([path.clone()]).filter_map(|path| import(by, &path)).collect::<Vec<_>>()
        });
        named.chain(all_of).collect()
    }

    /// The modules that pass on all names of another one, and its path.
    pub(super) fn passed_on_whole(&self) -> impl Iterator<Item = (&Path, &Path)> {
        let of_this_crate = |by: &Path, path: &Path| {
            let home = self.absolute(by, path).map(|path| self.home(&path));
            home.is_some_and(|home| !by.starts_with(&home) && !home.starts_with(by))
        };
        self.globs
            .iter()
            .filter(move |(by, path, public)| *public && of_this_crate(by, path))
            .map(|(by, path, _)| (by, path))
    }

    fn module(&mut self, module: &Path, tokens: TokenStream) {
        self.modules.insert(module.clone());
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let word = |at: usize| match tokens.get(at) {
                Some(TokenTree::Ident(word)) => word.to_string(),
                _ => String::new(),
            };
            match (&*word(at), tokens.get(at + 2)) {
                ("use", _) => {
                    let end = tokens[at..].iter().position(|token| is(token, ';')).map_or(tokens.len(), |n| at + n);
                    self.tree(module, is_public(&tokens[..at]), &[], &tokens[at + 1..end]);
                    at = end;
                }
                ("mod", Some(TokenTree::Group(content))) if content.delimiter() == Delimiter::Brace => {
                    let mut inner = module.clone();
                    inner.push(word(at + 1));
                    self.module(&inner, content.stream());
                    at += 2;
                }
                // `pub(in …)` says who sees an item, and imports nothing.
                ("pub", _) if matches!(tokens.get(at + 1), Some(TokenTree::Group(group)) if is_within(group)) => {
                    at += 1
                }
                (first, _) if !first.is_empty() => {
                    let mut path = vec![first.to_owned()];
                    while colons(&tokens, at + 1) && !word(at + 3).is_empty() {
                        path.push(word(at + 3));
                        at += 3;
                    }
                    if path.len() > 1 {
                        self.named.push((module.clone(), path));
                    }
                }
                _ => {
                    if let TokenTree::Group(group) = &tokens[at] {
                        self.module(module, group.stream());
                    }
                }
            }
            at += 1;
        }
    }

    /// A tree of `use`.
    fn tree(&mut self, module: &Path, public: bool, before: &[String], tokens: &[TokenTree]) {
        let mut path = before.to_vec();
        let mut name = None;
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(word) if *word == "as" => {
                    name = tokens.get(at + 1).map(ToString::to_string);
                    break;
                }
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Punct(punct) if punct.as_char() == '*' => {
                    self.globs.push((module.clone(), path, public));
                    return;
                }
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    for branch in inner.split(|token| is(token, ',')).filter(|branch| !branch.is_empty()) {
                        self.tree(module, public, &path, branch);
                    }
                    return;
                }
                _ => {}
            }
        }
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        let name = name.or_else(|| path.last().cloned()).unwrap_or_default();
        self.uses.entry(module.clone()).or_default().insert(name, path.clone());
        self.named.push((module.clone(), path));
    }

    /// From the root on; none for a path of another crate.
    fn absolute(&self, module: &Path, written: &[String]) -> Option<Path> {
        let mut at = module.clone();
        let mut rest = written;
        loop {
            match rest.first().map(String::as_str) {
                Some("crate") => at.clear(),
                Some("super") => drop(at.pop()),
                Some("self") => {}
                _ => break,
            }
            rest = &rest[1..];
        }
        let relative = rest.len() == written.len();
        let child: Path = at.iter().chain(rest.first()).cloned().collect();
        if relative && !self.modules.contains(&child) {
            return None;
        }
        Some(at.into_iter().chain(rest.iter().cloned()).collect())
    }

    /// The module where what has this path is at home.
    fn home(&self, path: &[String]) -> Path {
        // A name that is passed on from module to module comes to its end: the compiler has seen to it.
        let mut path = path.to_vec();
        'passed_on: loop {
            let mut at = Path::new();
            for (index, part) in path.iter().enumerate() {
                let mut child = at.clone();
                child.push(part.clone());
                if self.modules.contains(&child) {
                    at = child;
                    continue;
                }
                let passed_on = self.uses.get(&at).and_then(|uses| uses.get(part));
                match passed_on.and_then(|written| self.absolute(&at, written)) {
                    Some(target) => {
                        path = target.into_iter().chain(path[index + 1..].iter().cloned()).collect();
                        continue 'passed_on;
                    }
                    None => return at,
                }
            }
            return at;
        }
    }
}

fn is(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn colons(tokens: &[TokenTree], at: usize) -> bool {
    [at, at + 1].iter().all(|at| tokens.get(*at).is_some_and(|token| is(token, ':')))
}

/// Whether it is what follows `pub` where only some modules see an item.
fn is_within(group: &Group) -> bool {
    matches!(group.stream().into_iter().next(), Some(TokenTree::Ident(word)) if word == "in")
}

/// Whether what stands before a `use` makes it public, to anybody.
fn is_public(before: &[TokenTree]) -> bool {
    let public = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if *word == "pub");
    match before {
        [.., token] if public(token) => true,
        [.., token, TokenTree::Group(_)] => public(token),
        _ => false,
    }
}
