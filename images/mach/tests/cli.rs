//! The program as a person meets it: help, and errors that can be understood, with the exit status that scripts rely on.

use std::process::{Command, Output};

fn mach(arguments: &[&str]) -> Output {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mach"));
    command.args(arguments).env("MACH_ROOT", root).output().unwrap()
}

#[test]
fn help_names_every_command() {
    let output = mach(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    for command in ["run", "test", "bench", "image", "check", "build"] {
        assert!(text.lines().any(|line| line.trim_start().starts_with(command)), "{command} is not in {text}");
    }
}

#[test]
fn each_command_has_help() {
    for command in ["run", "test", "bench", "image", "check", "build"] {
        let output = mach(&[command, "--help"]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("./mach {command}")), "{command}");
    }
}

#[test]
fn a_manifest_that_is_not_there_is_an_error_that_lists_those_that_are() {
    let output = mach(&["run", "nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("no manifest `nonsense`") && text.contains("demo, "), "{text}");
}

#[test]
fn what_the_machine_cannot_be_is_refused_before_anything_is_built() {
    let output = mach(&["run", "swap", "--cpus", "9"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("at most 8 CPUs"));
}
