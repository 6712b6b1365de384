//! The variables of one run: `${name}` in a manifest becomes what the launcher decided.
//!
//! Addresses and ports are only known when the host's side is up, sizes when the command line has been read. A list stands
//! for any number of words, so it must be an argument of its own.

use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// Names and what they stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    texts: BTreeMap<&'static str, String>,
    lists: BTreeMap<&'static str, Vec<String>>,
}

/// The list of the words that the network pager gets from the launcher's options.
pub(crate) const NET_OPTIONS: &str = "net_options";

impl Variables {
    pub(crate) fn set(&mut self, name: &'static str, value: impl ToString) {
        self.texts.insert(name, value.to_string());
    }

    pub(crate) fn set_list(&mut self, name: &'static str, words: Vec<String>) {
        self.lists.insert(name, words);
    }

    /// The words that one argument stands for: those of a list, or itself with every `${name}` replaced.
    pub(crate) fn words(&self, argument: &str) -> Result<Vec<String>> {
        let name = argument.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        match name.and_then(|name| self.lists.get(name)) {
            Some(words) => Ok(words.clone()),
            None => Ok(vec![self.expand(argument)?]),
        }
    }

    /// `text` with every `${name}` replaced.
    pub(crate) fn expand(&self, text: &str) -> Result<String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            expanded.push_str(&rest[..start]);
            let Some(length) = rest[start..].find('}') else {
                bail!("`{text}`: ${{ without }}");
            };
            let name = &rest[start + 2..start + length];
            match self.texts.get(name) {
                Some(value) => expanded.push_str(value),
                None if self.lists.contains_key(name) => {
                    bail!("`{text}`: ${{{name}}} is a list of words and must be an argument of its own")
                }
                None => bail!("`{text}`: there is no ${{{name}}}; there are: {}", self.names()),
            }
            rest = &rest[start + length + 1..];
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn names(&self) -> String {
        self.texts.keys().chain(self.lists.keys()).copied().collect::<Vec<_>>().join(", ")
    }

    /// All variables that a run with a network sets.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let mut variables = Self::default();
        variables.set("working_set", 256u64 << 20);
        variables.set("working_set_x2", 512u64 << 20);
        variables.set("memory", 64u64 << 20);
        variables.set("cpus", 2);
        variables.set("seed", 7);
        variables.set("ip", "10.0.2.15/24");
        variables.set("gateway", "10.0.2.2");
        variables.set("server", "10.0.2.2:4000");
        variables.set_list(NET_OPTIONS, vec!["seal=yes".to_owned(), "foreign=take".to_owned()]);
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_wherever_they_stand() {
        let variables = Variables::example();
        assert_eq!(variables.expand("server=${server},seed=${seed}").unwrap(), "server=10.0.2.2:4000,seed=7");
        assert_eq!(variables.expand("plain $x }").unwrap(), "plain $x }");
    }

    #[test]
    fn unknown_and_unfinished_ones_are_errors() {
        let variables = Variables::example();
        let unknown = variables.expand("${sever}").unwrap_err().to_string();
        assert!(unknown.contains("no ${sever}") && unknown.contains("server"), "{unknown}");
        assert!(variables.expand("a ${seed").is_err());
    }

    #[test]
    fn a_list_is_an_argument_of_its_own() {
        let mut variables = Variables::example();
        assert_eq!(variables.words("${net_options}").unwrap(), ["seal=yes", "foreign=take"]);
        assert_eq!(variables.words("seed=${seed}").unwrap(), ["seed=7"]);
        assert!(variables.words("x${net_options}").unwrap_err().to_string().contains("argument of its own"));
        variables.set_list(NET_OPTIONS, Vec::new());
        assert!(variables.words("${net_options}").unwrap().is_empty());
    }

    #[test]
    fn a_value_is_not_expanded_again() {
        let mut variables = Variables::default();
        variables.set("seed", "${seed}");
        assert_eq!(variables.expand("${seed}").unwrap(), "${seed}");
    }
}
