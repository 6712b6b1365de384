//! What ends a wait, and that it ends only that one.

use abi::Code;
use abi::call::{mach, mach_port};
use abi::item::PortName;

use super::{SEEDS, Tally, number_of, numbered};
use crate::fake::{Bed, Shape, User};
use crate::thread::Run;

async fn limit_to_one(user: &User, port: u32) {
    let request = mach_port::mach_port_set_qlimit::Request { name: PortName(port), qlimit: 1 };
    user.rpc(user.task().await, &request).await.unwrap();
}

/// A thread that slept is woken by its time; that is not the room it waits for next.
#[test]
fn the_end_of_a_sleep_does_not_end_the_next_wait() {
    let mut bed = Bed::new(Shape::simple());
    let (server, client) = (bed.task(), bed.task());
    let port = bed.port(server);
    let name = bed.send_right(server, port, client);
    let got = Tally::default();
    let tally = got.clone();
    bed.thread(server, move |user| async move {
        limit_to_one(&user, port).await;
        user.sleep(50).await;
        for _ in 0..3 {
            let (code, bytes) = user.receive(port, None).await;
            assert_eq!(code, Code::SUCCESS);
            tally.add(u64::from(number_of(&bytes)));
        }
    });
    bed.thread(client, move |user| async move {
        user.sleep(10).await;
        assert_eq!(user.send(name, &numbered(1)).await, Code::SUCCESS);
        user.sleep(10).await;
        assert_eq!(user.send(name, &numbered(10)).await, Code::SUCCESS);
    });
    bed.thread(client, move |user| async move {
        user.sleep(30).await;
        assert_eq!(user.send(name, &numbered(100)).await, Code::SUCCESS);
    });
    bed.run();
    assert_eq!(got.get(), 111);
    bed.end();
}

/// A sender that was let in and ends passes its turn on.
#[test]
fn a_sender_that_ends_when_there_is_room_lets_the_next_one_in() {
    let mut bed = Bed::new(Shape::simple());
    let (server, client) = (bed.task(), bed.task());
    let port = bed.port(server);
    let name = bed.send_right(server, port, client);
    let got = Tally::default();
    let tally = got.clone();
    let sender = |number, after| {
        move |user: User| async move {
            user.sleep(after).await;
            assert_eq!(user.send(name, &numbered(number)).await, Code::SUCCESS);
        }
    };
    bed.thread(client, sender(1, 10));
    let victim = bed.thread(client, sender(10, 20));
    bed.thread(client, sender(100, 30));
    let victim = bed.give_thread(server, victim);
    bed.thread(server, move |user| async move {
        limit_to_one(&user, port).await;
        user.sleep(50).await;
        tally.add(u64::from(number_of(&user.receive(port, None).await.1)));
        user.rpc(victim, &mach::thread_terminate::Request {}).await.unwrap();
        tally.add(u64::from(number_of(&user.receive(port, None).await.1)));
    });
    bed.run();
    assert_eq!(got.get(), 101);
    bed.end();
}

#[test]
fn each_wait_can_be_aborted() {
    let mut bed = Bed::new(Shape::simple());
    let (server, client) = (bed.task(), bed.task());
    let port = bed.port(server);
    let name = bed.send_right(server, port, client);
    let done = Tally::default();
    let mut victims = std::vec::Vec::new();
    let tally = done.clone();
    victims.push(bed.thread(client, move |user| async move {
        assert_eq!(user.receive(user.port().await, None).await.0, Code::RCV_INTERRUPTED);
        assert_eq!(user.receive(user.port().await, Some(100_000)).await.0, Code::RCV_INTERRUPTED);
        tally.add(1);
    }));
    let tally = done.clone();
    victims.push(bed.thread(client, move |user| async move {
        for number in 0..5 {
            assert_eq!(user.send(name, &numbered(number)).await, Code::SUCCESS);
        }
        assert_eq!(user.send(name, &numbered(5)).await, Code::SEND_INTERRUPTED);
        user.sleep(50_000).await;
        assert!(user.now() < 50_000_000_000, "the sleep was ended");
        assert_eq!(user.send(name, &numbered(5)).await, Code::SEND_INTERRUPTED);
        tally.add(1);
    }));
    let names: std::vec::Vec<_> = victims.iter().map(|victim| bed.give_thread(server, *victim)).collect();
    bed.thread(server, move |user| async move {
        for _ in 0..3 {
            user.sleep(100).await;
            for victim in &names {
                let _ = user.rpc(*victim, &mach::thread_abort::Request {}).await;
            }
        }
    });
    bed.run();
    assert_eq!(done.get(), 2);
    bed.end();
}

/// Timeouts, messages and aborts that come at the same moment: each receive ends, and no message is lost.
#[test]
fn a_receive_ends_once_whoever_is_first() {
    for seed in SEEDS {
        let mut bed = Bed::new(Shape::race(seed));
        let (server, client) = (bed.task(), bed.task());
        let port = bed.port(server);
        let name = bed.send_right(server, port, client);
        let got = Tally::default();
        let tally = got.clone();
        let receiver = bed.thread(server, move |user| async move {
            let mut received = 0;
            while received < 30 {
                match user.receive(port, Some(1)).await {
                    (Code::SUCCESS, bytes) => {
                        assert_eq!(number_of(&bytes), received);
                        received += 1;
                        tally.add(1);
                    }
                    (code, _) => assert!(code == Code::RCV_TIMED_OUT || code == Code::RCV_INTERRUPTED, "{code}"),
                }
            }
        });
        let victim = bed.give_thread(client, receiver);
        bed.thread(client, move |user| async move {
            for number in 0..30 {
                assert_eq!(user.send(name, &numbered(number)).await, Code::SUCCESS);
                if number % 3 == 0 {
                    user.sleep(1).await;
                }
            }
        });
        bed.thread(client, move |user| async move {
            for _ in 0..20 {
                let _ = user.rpc(victim, &mach::thread_abort::Request {}).await;
                user.sleep(1).await;
            }
        });
        bed.run();
        assert_eq!((got.get(), bed.state(receiver)), (30, Run::Dead), "seed {seed}");
        bed.end();
    }
}

#[test]
fn sleepers_wake_whoever_runs_the_timer() {
    for seed in SEEDS {
        let mut bed = Bed::new(Shape::race(seed));
        let task = bed.task();
        let woken = Tally::default();
        for _ in 0..3 {
            let tally = woken.clone();
            bed.thread(task, move |user| async move {
                for _ in 0..20 {
                    user.sleep(1).await;
                    tally.add(1);
                }
            });
        }
        bed.run();
        assert_eq!(woken.get(), 60, "seed {seed}");
        bed.end();
    }
}
