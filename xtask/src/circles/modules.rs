//! The modules of a crate: the names that each declares, imports and mentions.

use super::tokens::{Token, after_group, after_item, is_test_only, is_word, tokens};
use crate::tree::File;
use std::collections::{BTreeMap, BTreeSet};

/// The names from the root of a crate to a module or an item.
pub(super) type Path = Vec<String>;

/// A module as its text declares it.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// The path of the file that holds the module.
    pub(super) file: String,
    /// Types, traits, functions, constants and macros that the module declares.
    pub(super) items: BTreeSet<String>,
    /// Imports and re-exports by the name that they give.
    pub(super) uses: BTreeMap<String, Use>,
    /// Modules whose names are all imported.
    pub(super) globs: Vec<Path>,
    /// Paths in the code outside of imports, a single name included.
    pub(super) mentions: BTreeSet<Path>,
}

/// One name that a `use` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) path: Path,
    /// Whether other modules see the name here: a re-export, which this module itself need not use.
    pub(super) is_public: bool,
}

const ITEMS: &[&str] = &["struct", "enum", "union", "trait", "type", "fn", "const", "static", "macro_rules"];

/// The modules of the crate whose sources lie in `source`, without those for tests only.
pub(super) fn modules(files: &[File], source: &str) -> BTreeMap<Path, Module> {
    let mut reader = Reader::default();
    let inside = files.iter().filter_map(|file| Some((module_path(file.path.strip_prefix(source)?)?, file)));
    let mut inside: Vec<_> = inside.collect();
    inside.sort_by_key(|(path, _)| path.len());
    for (path, file) in inside {
        if !(0..=path.len()).any(|length| reader.for_tests.contains(&path[..length])) {
            reader.file = &file.path;
            let tokens = tokens(&file.text);
            let module = reader.read(&tokens, &path);
            reader.modules.insert(path, module);
        }
    }
    reader.modules
}

/// The module of a file: `lib.rs` and `main.rs` are the root, `a/mod.rs` and `a.rs` are `a`.
fn module_path(relative: &str) -> Option<Path> {
    let mut path: Path =
        relative.strip_prefix('/')?.strip_suffix(".rs")?.split('/').map(Into::into).collect();
    let is_root = path.len() == 1 && (path[0] == "lib" || path[0] == "main");
    if is_root || path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    Some(path)
}

#[derive(Default)]
struct Reader<'a> {
    file: &'a str,
    modules: BTreeMap<Path, Module>,
    /// Modules that are compiled for tests only.
    for_tests: BTreeSet<Path>,
}

impl Reader<'_> {
    /// Reads the items of one module. A module inside it is added to the modules of the crate.
    fn read(&mut self, tokens: &[Token<'_>], path: &[String]) -> Module {
        let mut module = Module { file: self.file.to_owned(), ..Module::default() };
        let mut at = 0;
        let mut depth = 0_usize;
        let mut is_public = false;
        while at < tokens.len() {
            let token = tokens[at];
            if is_test_only(tokens, at) {
                let end = after_item(tokens, at);
                self.note_test_module(&tokens[at..end], path);
                at = end;
                continue;
            }
            match token {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                "pub" if depth == 0 => {
                    is_public = true;
                    at += 1;
                    if tokens.get(at) == Some(&"(") {
                        at = after_group(tokens, at);
                    }
                    continue;
                }
                "use" => {
                    let end = after_item(tokens, at);
                    read_use(&tokens[at + 1..end - 1], is_public, &mut module);
                    is_public = false;
                    at = end;
                    continue;
                }
                "mod" if tokens.get(at + 2) == Some(&"{") => {
                    let mut inner: Path = path.to_vec();
                    inner.push(tokens[at + 1].to_owned());
                    let end = after_group(tokens, at + 2);
                    let read = self.read(&tokens[at + 3..end - 1], &inner);
                    self.modules.insert(inner, read);
                    at = end;
                    is_public = false;
                    continue;
                }
                _ if depth == 0 && ITEMS.contains(&token) => declare(&tokens[at..], &mut module),
                _ => {}
            }
            is_public &= !matches!(token, ";" | "}");
            at = mention(tokens, at, &mut module);
        }
        module
    }

    fn note_test_module(&mut self, item: &[Token<'_>], path: &[String]) {
        if let Some(at) = item.iter().position(|token| *token == "mod") {
            let name = item.get(at + 1).map(|name| (*name).to_owned());
            self.for_tests.insert(path.iter().cloned().chain(name).collect());
        }
    }
}

/// Notes the name that a declaration gives: the first word that is no modifier.
fn declare(tokens: &[Token<'_>], module: &mut Module) {
    let is_modifier =
        |token: &str| ITEMS.contains(&token) || matches!(token, "mut" | "unsafe" | "async" | "extern");
    let name = tokens.iter().filter(|token| is_word(token)).find(|token| !is_modifier(token));
    module.items.extend(name.map(|name| (*name).to_owned()));
}

/// Notes the path that starts at `at`, where one does, and returns the index after it.
fn mention(tokens: &[Token<'_>], at: usize, module: &mut Module) -> usize {
    let before = at.checked_sub(1).map_or("", |before| tokens[before]);
    let is_start = is_word(tokens[at]) && !matches!(before, "::" | "fn" | "mod" | "'");
    // `a.b` names a field or a method; `0..b` names a value.
    let is_member = before == "." && (at < 2 || tokens[at - 2] != ".");
    if !is_start || is_member {
        return at + 1;
    }
    let mut path = vec![tokens[at].to_owned()];
    let mut end = at + 1;
    while tokens.get(end) == Some(&"::") && tokens.get(end + 1).is_some_and(|token| is_word(token)) {
        path.push(tokens[end + 1].to_owned());
        end += 2;
    }
    module.mentions.insert(path);
    end
}

/// Reads the tokens between `use` and its semicolon.
fn read_use(tokens: &[Token<'_>], is_public: bool, module: &mut Module) {
    let tokens = tokens.strip_prefix(&["::"]).unwrap_or(tokens);
    read_tree(tokens, &[], is_public, module);
}

fn read_tree(tokens: &[Token<'_>], parents: &[String], is_public: bool, module: &mut Module) {
    let mut path = parents.to_vec();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at] {
            "::" => at += 1,
            "*" => {
                module.globs.push(path);
                return;
            }
            "{" => {
                let end = after_group(tokens, at);
                for branch in branches(&tokens[at + 1..end - 1]) {
                    read_tree(branch, &path, is_public, module);
                }
                return;
            }
            "as" => {
                let alias = tokens.get(at + 1).copied().unwrap_or_default();
                give(alias, path, is_public, module);
                return;
            }
            word => {
                if word != "self" || path.is_empty() {
                    path.push(word.to_owned());
                }
                at += 1;
            }
        }
    }
    if let Some(name) = path.last().cloned() {
        give(&name, path, is_public, module);
    }
}

fn give(name: &str, path: Path, is_public: bool, module: &mut Module) {
    // A module may have several `as _`: each gets a key of its own.
    let name = if name == "_" { format!("_ {}", path.join("::")) } else { name.to_owned() };
    module.uses.insert(name, Use { path, is_public });
}

/// The parts of a list between braces.
fn branches<'a, 'b>(tokens: &'b [Token<'a>]) -> Vec<&'b [Token<'a>]> {
    let (mut branches, mut start, mut at) = (Vec::new(), 0, 0);
    while at < tokens.len() {
        match tokens[at] {
            "{" => at = after_group(tokens, at),
            "," => {
                branches.push(&tokens[start..at]);
                at += 1;
                start = at;
            }
            _ => at += 1,
        }
    }
    branches.push(&tokens[start..]);
    branches.retain(|branch| !branch.is_empty());
    branches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Module {
        Reader::default().read(&tokens(text), &[])
    }

    fn used(text: &str) -> Vec<String> {
        let module = read(text);
        module.uses.iter().map(|(name, used)| format!("{name}={}", used.path.join("::"))).collect()
    }

    #[test]
    fn imports_nest_and_rename() {
        let text = "use crate::{a::{self, B as C}, d::E}; use super::f; fn g() { use h::I; }";
        assert_eq!(used(text), ["C=crate::a::B", "E=crate::d::E", "I=h::I", "a=crate::a", "f=super::f"]);
        assert_eq!(used("use a::B as _; use c::D as _;").len(), 2);
        assert_eq!(read("use a::*;").globs, [["a"]]);
    }

    #[test]
    fn a_public_import_is_a_re_export() {
        let module = read("pub(crate) use a::B; use c::D; pub use e::F; pub struct G; use h::I;");
        let public: Vec<_> =
            module.uses.iter().filter(|(_, used)| used.is_public).map(|(name, _)| name).collect();
        assert_eq!(public, ["B", "F"]);
    }

    #[test]
    fn items_are_those_of_the_module_and_no_methods() {
        let text =
            "pub(crate) const fn a() {} impl X { fn b() {} } pub struct C<T>(T); macro_rules! d { () => {} }";
        assert_eq!(Vec::from_iter(read(text).items), ["C", "a", "d"]);
    }

    #[test]
    fn fields_and_methods_are_not_mentioned_as_paths() {
        let mentions = read("fn x() { a.b(); c::d::<E>(0..f) }").mentions;
        for path in [vec!["a"], vec!["c", "d"], vec!["E"], vec!["f"]] {
            assert!(mentions.contains(&path.iter().map(ToString::to_string).collect::<Path>()), "{path:?}");
        }
        assert!(!mentions.contains(&vec!["b".to_owned()]));
    }

    #[test]
    fn what_is_for_tests_only_is_left_out() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let files = [
            file("crates/x/src/lib.rs", "mod a; #[cfg(test)] mod tests; #[cfg(test)] use b::C;"),
            file("crates/x/src/tests.rs", "use crate::a::A;"),
            file("crates/x/src/tests/deep.rs", ""),
            file("crates/x/src/a/mod.rs", "mod inner { use super::A; }"),
        ];
        let modules = modules(&files, "crates/x/src");
        let paths: Vec<_> = modules.keys().map(|path| path.join("::")).collect();
        assert_eq!(paths, ["", "a", "a::inner"]);
        assert!(modules[&Vec::new()].uses.is_empty());
    }
}
