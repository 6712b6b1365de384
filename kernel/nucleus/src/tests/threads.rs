//! Suspension, states and ends of threads while they are anywhere.

use abi::Code;
use abi::call::mach;
use abi::item::Words;
use abi::thread_state::{AARCH64_THREAD_STATE, THREAD_STATE_COUNT};

use super::{SEEDS, Tally, numbered};
use crate::fake::{Bed, HANDLER, Shape, User};
use crate::thread::Run;

/// None if the thread has ended.
async fn state_of(user: &User, thread: u32) -> Option<Words> {
    let request = mach::thread_get_state::Request { flavor: AARCH64_THREAD_STATE, count: THREAD_STATE_COUNT };
    loop {
        match user.rpc(thread, &request).await {
            Ok(reply) => return Some(reply.state),
            Err(Code::FAILURE) => (),
            Err(_) => return None,
        }
    }
}

/// Suspends a thread, takes it out of what it waits for, and exchanges its registers for what `change` makes of them. None if it has ended.
async fn redirect(user: &User, thread: u32, change: impl FnOnce(Words) -> Words) -> Option<Words> {
    user.rpc(thread, &mach::thread_suspend::Request {}).await.ok()?;
    user.rpc(thread, &mach::thread_abort::Request {}).await.ok()?;
    let state = state_of(user, thread).await?;
    let request = mach::thread_set_state::Request { flavor: AARCH64_THREAD_STATE, state: change(state.clone()) };
    user.rpc(thread, &request).await.ok()?;
    user.rpc(thread, &mach::thread_resume::Request {}).await.ok()?;
    Some(state)
}

/// What a signal does: the thread is stopped anywhere, runs a handler, and goes on where it was. A trap that it was about to do is done then, not in the
/// handler with the handler's registers.
#[test]
fn a_thread_that_is_sent_elsewhere_and_back_goes_on_as_before() {
    for seed in 1..40 {
        let mut bed = Bed::new(Shape::race(seed));
        let (task, other) = (bed.task(), bed.task());
        let beats = Tally::default();
        let tally = beats.clone();
        let victim = bed.thread(task, move |user| async move {
            let mut last = 0;
            for _ in 0..60 {
                let port = user.port().await;
                assert!(port != 0 && port != last);
                last = port;
                tally.add(1);
            }
        });
        let name = bed.give_thread(other, victim);
        bed.thread(other, move |user| async move {
            for _ in 0..10 {
                let away = |mut state: Words| {
                    // x8 is no trap's number, pc the handler's.
                    (state.0[16], state.0[17]) = (12345, 0);
                    (state.0[64], state.0[65]) = (HANDLER as u32, (HANDLER >> 32) as u32);
                    state
                };
                let Some(before) = redirect(&user, name, away).await else { return };
                user.yield_now().await;
                if redirect(&user, name, |_| before).await.is_none() {
                    return;
                }
            }
        });
        bed.run();
        assert_eq!(beats.get(), 60, "seed {seed}: {}", bed.machine.printed());
        bed.end();
    }
}

/// Suspended before it was ever sent to, a thread gets its message when it is resumed.
#[test]
fn a_suspended_thread_keeps_what_it_was_given() {
    for seed in SEEDS {
        let mut bed = Bed::new(Shape::race(seed));
        let (server, client) = (bed.task(), bed.task());
        let port = bed.port(server);
        let name = bed.send_right(server, port, client);
        let got = Tally::default();
        let tally = got.clone();
        let receiver = bed.thread(server, move |user| async move {
            for _ in 0..10 {
                assert_eq!(user.receive(port, None).await.0, Code::SUCCESS);
                tally.add(1);
            }
        });
        let victim = bed.give_thread(client, receiver);
        let task = bed.give_task(client, server);
        bed.thread(client, move |user| async move {
            for number in 0..10 {
                match number % 2 {
                    0 => user.rpc(victim, &mach::thread_suspend::Request {}).await.map(drop).unwrap(),
                    _ => user.rpc(task, &mach::task_suspend::Request {}).await.map(drop).unwrap(),
                }
                assert_eq!(user.send(name, &numbered(number)).await, Code::SUCCESS);
                user.sleep(number % 3).await;
                match number % 2 {
                    0 => user.rpc(victim, &mach::thread_resume::Request {}).await.map(drop).unwrap(),
                    _ => user.rpc(task, &mach::task_resume::Request {}).await.map(drop).unwrap(),
                }
                // Else the queue is full one day, and nobody resumes who could empty it.
                user.sleep(5).await;
            }
        });
        bed.run();
        assert_eq!((got.get(), bed.state(receiver)), (10, Run::Dead), "seed {seed}: {}", bed.kernel.census.left());
        bed.end();
    }
}

/// A right given to a thread that is gone goes away too.
#[test]
fn a_dead_thread_takes_no_exception_port() {
    for seed in SEEDS {
        let mut bed = Bed::new(Shape::race(seed));
        let (task, other) = (bed.task(), bed.task());
        let victim = bed.thread(task, |user| async move {
            for _ in 0..20 {
                user.yield_now().await;
            }
        });
        let name = bed.give_thread(other, victim);
        for _ in 0..2 {
            bed.thread(other, move |user| async move {
                let port = user.port().await;
                for _ in 0..30 {
                    let request = mach::thread_set_special_port::Request {
                        which: abi::trap::THREAD_EXCEPTION_PORT,
                        special_port: abi::message::Port::make_send(port),
                    };
                    if user.rpc(name, &request).await.is_err() {
                        return;
                    }
                }
            });
        }
        bed.run();
        bed.end();
    }
}
