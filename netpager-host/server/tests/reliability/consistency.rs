//! Nothing is lost, revived or mixed: concurrent clients with faults, and a short soak with kills and restarts.

use bench::soak::SoakArgs;
use bench::torture::{Torture, run};

use crate::{binary, service};

const TORTURE: Torture = Torture { clients: 8, depth: 4, requests: 4_000, sectors: 64, seed: 1 };

#[test]
fn what_eight_clients_saw_of_memory_has_an_explanation() {
    let service = service(&["memory=1M"], &[]);
    let outcome = run(service.target(), &TORTURE).unwrap();
    assert_eq!((outcome.answered, outcome.refused), (32_000, 0));
    assert!(outcome.explained > 100_000, "{outcome:?}");
}

#[test]
fn and_so_has_what_they_saw_of_a_file_with_errors_and_delays() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file:{}", folder.path().join("store").display());
    let service = service(&[&format!("disk=1M,store={store},error=50,delay=1")], &[]);
    let outcome = run(service.target(), &Torture { requests: 1_000, seed: 2, ..TORTURE }).unwrap();
    assert_eq!(outcome.answered + outcome.refused, 8_000);
    assert!(outcome.refused > 100, "the errors are real: {outcome:?}");
}

#[test]
fn and_of_compressed_pages() {
    let service = service(&["memory=1M,store=compressed"], &[]);
    let outcome = run(service.target(), &Torture { seed: 3, requests: 2_000, ..TORTURE }).unwrap();
    assert_eq!((outcome.answered, outcome.refused), (16_000, 0));
}

#[test]
fn a_soak_with_kills_and_restarts_loses_nothing() {
    let soak = SoakArgs { server: binary().into(), hours_worth: 0.15, clients: 8, seed: 1 };
    let outcome = soak.soak(|_, _| {}).unwrap();
    assert!(outcome.kills >= 2 && outcome.answered > 20_000 && outcome.verified > 100_000, "{outcome:?}");
}
