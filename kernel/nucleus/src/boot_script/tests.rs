//! The boot script's tests.

use super::*;
use alloc::string::ToString;
use alloc::vec;

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

fn variable(name: &str) -> Piece {
    Piece::Variable(name.to_owned())
}

fn read(command_line: &str, lines: &[&str]) -> Result<(Vec<Command>, BTreeMap<String, Value>), String> {
    let mut script = Script::new(command_line);
    for (at, line) in lines.iter().enumerate() {
        script.add(at + 1, line).map_err(|error| error.to_string())?;
    }
    script.finish().map_err(|error| error.to_string())
}

#[track_caller]
fn refuses(lines: &[&str], line: usize, why: &str) {
    let error = read("", lines).expect_err("a bad script was accepted");
    assert!(error.starts_with(&alloc::format!("boot script, line {line}, ")), "{error}");
    assert!(error.contains(why), "{error}");
}

#[test]
fn the_usual_line_gives_two_ports_and_a_task_that_runs() {
    let (commands, variables) = read("", &["bootstrap ${host-port} ${device-port} $(task-create) $(task-resume)"]).unwrap();
    let words = vec![vec![text("bootstrap")], vec![variable("host-port")], vec![variable("device-port")]];
    assert_eq!(commands[0].words, words);
    assert!(commands[0].does(Function::TaskCreate) && commands[0].resumes());
    assert_eq!(variables["host-port"], Value::Port(PortValue::HostPriv));
    assert_eq!(variables["device-port"], Value::Port(PortValue::DeviceMaster));
}

#[test]
fn variables_may_be_glued_to_text_on_both_sides() {
    let (commands, _) = read("", &["fs --host=${host-port}:${device-port}! $(task-create)"]).unwrap();
    assert_eq!(commands[0].words[1], vec![text("--host="), variable("host-port"), text(":"), variable("device-port"), text("!")]);
    assert!(!commands[0].resumes());
}

#[test]
fn a_line_may_use_the_task_of_a_later_one() {
    let lines = ["fs --exec=${exec-task} $(task-create) $(task-resume)", "exec $(exec-task=task-create)"];
    let (_, variables) = read("", &lines).unwrap();
    assert_eq!(variables["exec-task"], Value::Port(PortValue::Task(2)));
}

#[test]
fn words_of_the_command_line_are_variables() {
    let line = "trace root=/dev/hd0s1 -s swap=vda host-port=evil -v =odd";
    let (_, variables) = read(line, &[]).unwrap();
    let value = |name: &str| variables.get(name).cloned();
    let is = |value: &str| Some(Value::Text(value.to_owned()));
    assert_eq!(value("swap"), is("vda"));
    assert_eq!(value("root"), is("/dev/hd0s1"));
    assert_eq!(value("root-device"), is("hd0s1"));
    assert_eq!(value("boot-args"), is("-sv"));
    assert_eq!(value("kernel-command-line"), is(line));
    assert_eq!(value("host-port"), Some(Value::Port(PortValue::HostPriv)), "the command line can't replace a port");
    assert_eq!(value(""), None);
    let (_, variables) = read("", &[]).unwrap();
    assert_eq!(variables["boot-args"], Value::Text("-x".to_owned()));
    assert_eq!(variables["root-device"], Value::Text("UNKNOWN".to_owned()));
}

#[test]
fn comments_and_blank_lines_make_no_command() {
    let (commands, _) = read("", &["# nothing $(nonsense", "", " \t", "a b#c $(task-create) # ${unknown}"]).unwrap();
    assert_eq!(commands.len(), 1);
    assert_eq!(commands[0].line, 4);
    assert_eq!(commands[0].words, vec![vec![text("a")], vec![text("b#c")]]);
}

#[test]
fn a_ramdisk_needs_no_task() {
    let (commands, _) = read("", &["initrd $(ramdisk-create)"]).unwrap();
    assert!(commands[0].does(Function::RamdiskCreate) && !commands[0].does(Function::TaskCreate));
}

#[test]
fn errors_name_the_line_and_the_reason() {
    let good = "a $(task-create)";
    refuses(&[good, "b $(task-crate)"], 2, "\"$(task-crate)\": there is no such function");
    refuses(&["a ${host-port"], 1, "no closing");
    refuses(&["a $(task-create"], 1, "no closing");
    refuses(&["a $5 $(task-create)"], 1, "a $ begins");
    refuses(&["a $"], 1, "a $ begins");
    refuses(&["a --x=$(task-create)"], 1, "word of its own");
    refuses(&["a $(task-create)x"], 1, "word of its own");
    refuses(&["a ${nobody} $(task-create)"], 1, "\"${nobody}\": no line");
    refuses(&["a $(task-resume)"], 1, "$(task-create) is missing");
    refuses(&["$(task-create)"], 1, "first word is missing");
    refuses(&["a b"], 1, "a module becomes");
    refuses(&["a $(task-create) $(ramdisk-create)"], 1, "a module becomes");
    refuses(&["a $(task-create) $(task-create)"], 1, "called that already");
    refuses(&["a $(task-create) $(x=task-resume)"], 1, "something to keep");
    refuses(&["a $(x=task-create)", "b $(x=task-create)"], 2, "has a value already");
    refuses(&["a $(host-port=task-create)"], 1, "has a value already");
}
