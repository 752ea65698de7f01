//! A module imports only from modules below it, so that the flow of the program can be read off
//! its imports.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules from the nouns up. Those of one line may not import each other.
const LAYERS: [&[&str]; 16] = [
    &[
        "stat",
        "names",
        "family",
        "negotiate",
        "yaml",
        "work",
        "files",
        "secret",
        "logfmt",
        "demand",
        "sockets",
    ],
    &["histogram", "relabel"],
    &["decode"],
    &["mapping"],
    &["snapshot"],
    &["exposition"],
    &["foreign"],
    &["telemetry"],
    // The transport knows the demo's answers, which are asked for as those of any target.
    &["transport", "demo"],
    &["collectors"],
    &["poll", "capture", "merge"],
    &["status", "explain", "coverage", "web", "push"],
    &["config"],
    &["cli"],
    &["app"],
    &["lib", "main"],
];

/// The two exceptions: the demo answers the transport's queries, and HELP of what a family is
/// comes from the type of its stat.
const ALLOWED: [(&str, &str); 3] = [
    ("demo", "transport"),
    ("transport", "demo"),
    ("family", "stat"),
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// What is wrong with a module's source: a line for each import that goes up.
fn violations(module: &str, file: &str, source: &str) -> String {
    let mut found = String::new();
    let Some(own) = layer(module) else {
        return format!("{file}: module '{module}' has no layer\n");
    };
    for (number, line) in source.lines().enumerate() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        for imported in imports(code) {
            let allowed = imported == module || ALLOWED.contains(&(module, imported));
            if !allowed && layer(imported).is_none_or(|theirs| theirs >= own) {
                writeln!(
                    found,
                    "{file}:{}: '{module}' imports '{imported}'",
                    number + 1
                )
                .unwrap();
            }
        }
    }
    found
}

/// The modules named behind `crate::`, also in braces.
fn imports(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for after in code.split("crate::").skip(1) {
        let list = match after.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => after,
        };
        let items = if after.starts_with('{') {
            list.split(',').collect()
        } else {
            vec![list]
        };
        for item in items {
            let name = item
                .trim()
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .next();
            found.extend(name.filter(|name| !name.is_empty() && *name != "crate"));
        }
    }
    found
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn imports_go_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources are found");
    let mut found = String::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let first = inside
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy();
        let module = first.trim_end_matches(".rs");
        found += &violations(
            module,
            &inside.display().to_string(),
            &fs::read_to_string(&file).unwrap(),
        );
    }
    assert!(found.is_empty(), "\n{found}");
}

#[test]
fn an_upward_import_is_found() {
    for (module, source, want) in [
        (
            "names",
            "use crate::poll::Task;",
            "f:1: 'names' imports 'poll'\n",
        ),
        (
            "decode",
            "\nuse crate::{histogram, web};",
            "f:2: 'decode' imports 'web'\n",
        ),
        ("web", "let x = crate::poll::Task::new();", ""),
        ("web", "// crate::app", ""),
        (
            "poll",
            "use crate::nowhere::X;",
            "f:1: 'poll' imports 'nowhere'\n",
        ),
        ("stray", "", "f: module 'stray' has no layer\n"),
    ] {
        assert_eq!(violations(module, "f", source), want, "{source}");
    }
}

#[test]
fn files_stay_readable() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut long = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//!") || file.ends_with("tests.rs"),
            "{} says what it is",
            file.display()
        );
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().count();
        if lines > 500 && !file.ends_with("tests.rs") {
            long.push(format!("{}: {lines}", file.display()));
        }
    }
    assert!(long.is_empty(), "files of more than one idea? {long:?}");
}
