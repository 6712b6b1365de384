//! Arrows: each crate is built on no other crates of the workspace than ARCHITECTURE.md allows.
//!
//! The table there starts with `| Crate | May depend on |`; the second column lists crates, or says `nothing` or `anything`.
//! Every crate has a row, and every name in the table is a crate.

use super::metadata::Metadata;

/// What one crate may be built on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    Anything,
    These(Vec<String>),
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    name: String,
    allowed: Allowed,
}

pub(crate) fn check(architecture: &str, metadata: &Metadata) -> Vec<String> {
    let Some(rows) = table(architecture) else {
        return vec!["ARCHITECTURE.md has no table with the header | Crate | May depend on |".to_owned()];
    };
    let mut problems = unknown_names(&rows, metadata);
    for package in &metadata.packages {
        let Some(row) = rows.iter().find(|row| row.name == package.name) else {
            problems.push(format!("the crate {} has no row in the arrows table of ARCHITECTURE.md", package.name));
            continue;
        };
        let forbidden = package.arrows().filter(|arrow| !row.allows(arrow));
        problems.extend(forbidden.map(|arrow| format!("{} is built on {arrow}, which the table forbids", package.name)));
    }
    problems
}

impl Row {
    fn allows(&self, arrow: &str) -> bool {
        match &self.allowed {
            Allowed::Anything => true,
            Allowed::These(names) => names.iter().any(|name| name == arrow),
        }
    }
}

fn unknown_names(rows: &[Row], metadata: &Metadata) -> Vec<String> {
    let known = |name: &String| metadata.packages.iter().any(|package| package.name == *name);
    let mut problems = Vec::new();
    for row in rows {
        let Row { name, allowed } = row;
        let targets = if let Allowed::These(names) = allowed { names.as_slice() } else { &[] };
        let strangers = std::iter::once(name).chain(targets).filter(|name| !known(name));
        problems.extend(strangers.map(|stranger| format!("the arrows table names {stranger}, which is no crate")));
    }
    problems
}

fn table(architecture: &str) -> Option<Vec<Row>> {
    let mut lines = architecture.lines().skip_while(|line| {
        let cells = cells(line);
        !(cells.len() == 2 && cells[0].eq_ignore_ascii_case("crate") && cells[1].eq_ignore_ascii_case("may depend on"))
    });
    lines.next()?;
    let rows = lines.skip(1).map_while(|line| match cells(line).as_slice() {
        [name, allowed] => Some(Row { name: name.clone(), allowed: parse_allowed(allowed) }),
        _ => None,
    });
    Some(rows.collect())
}

/// The cells of a table's line, without blanks and backticks.
fn cells(line: &str) -> Vec<String> {
    let Some(inner) = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
        return Vec::new();
    };
    inner.split('|').map(|cell| cell.replace('`', "").trim().to_owned()).collect()
}

fn parse_allowed(cell: &str) -> Allowed {
    match cell {
        "anything" | "all" => Allowed::Anything,
        "" | "-" | "–" | "—" | "nothing" => Allowed::These(Vec::new()),
        names => Allowed::These(names.split(',').map(|name| name.trim().to_owned()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TABLE: &str = "
# Architecture

| Crate | May depend on |
|---|---|
| `abi` | nothing |
| `vm` | `abi`, `frames` |
| `frames` | — |
| `mach` | anything |

| Crate | Something else |
|---|---|
| `ghost` | `abi` |
";

    /// Crates, and for each the crates it is built on with the kind of dependency.
    type Crates<'a> = &'a [(&'a str, &'a [(&'a str, Option<&'a str>)])];

    fn metadata(crates: Crates<'_>) -> Metadata {
        let packages = crates.iter().map(|(name, dependencies)| {
            let dependencies = dependencies.iter().map(|(name, kind)| json!({"name": name, "kind": kind, "path": "x"}));
            let dependencies: Vec<_> = dependencies.chain([json!({"name": "serde", "kind": null, "path": null})]).collect();
            json!({"name": name, "manifest_path": "x", "dependencies": dependencies, "targets": [], "metadata": null})
        });
        serde_json::from_value(json!({ "packages": packages.collect::<Vec<_>>() })).unwrap()
    }

    #[test]
    fn allowed_arrows_are_fine_and_tests_may_use_more() {
        let crates: Crates<'_> =
            &[("abi", &[("vm", Some("dev"))]), ("vm", &[("abi", None), ("frames", None)]), ("frames", &[]), ("mach", &[("vm", None)])];
        assert_eq!(check(TABLE, &metadata(crates)), Vec::<String>::new());
    }

    #[test]
    fn a_forbidden_arrow_is_named() {
        let crates: Crates<'_> = &[("abi", &[("vm", None)]), ("vm", &[("mach", Some("build"))]), ("frames", &[]), ("mach", &[])];
        let problems = check(TABLE, &metadata(crates));
        assert_eq!(problems, ["abi is built on vm, which the table forbids", "vm is built on mach, which the table forbids"]);
    }

    #[test]
    fn the_table_and_the_workspace_name_the_same_crates() {
        let problems = check(TABLE, &metadata(&[("abi", &[]), ("vm", &[]), ("mach", &[]), ("new", &[])]));
        assert!(problems.iter().any(|problem| problem.contains("new has no row")), "{problems:?}");
        assert_eq!(problems.iter().filter(|problem| problem.contains("frames, which is no crate")).count(), 2);
        assert!(!problems.iter().any(|problem| problem.contains("ghost")));
    }

    #[test]
    fn no_table_is_a_problem() {
        assert_eq!(check("# nothing here", &metadata(&[])).len(), 1);
    }
}
