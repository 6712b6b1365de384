//! The status page with a service that exists in numbers only, to look at and to work on the page:
//! `cargo run -p admin --example demo [ADDRESS]`.

#[path = "../tests/operating/fake/mod.rs"]
mod fake;

use std::sync::Arc;
use std::time::Duration;

use admin::{AdminAddress, AdminConfig, AdminListener, Registry};
use fake::{Fake, Traffic};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: AdminAddress = std::env::args().nth(1).as_deref().unwrap_or(AdminAddress::DEFAULT).parse()?;
    let (registry, service) = (Arc::new(Registry::default()), Fake::furnished());
    let mut traffic = Traffic::connect(&registry);
    service.set_clients(traffic.ids());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = AdminListener::bind(AdminConfig { address, token: None, host_names: Vec::new() }).await?;
        println!("the page is at {}", listener.address());
        let operated = service.clone();
        let simulate = async move {
            let mut clock = tokio::time::interval(Duration::from_millis(100));
            for tenth in 0_u64.. {
                clock.tick().await;
                traffic.turn();
                service.take_disconnected().into_iter().for_each(|id| traffic.drop_client(id));
                if tenth.is_multiple_of(10) {
                    service.advance(tenth / 10);
                }
            }
        };
        let simulate = tokio::spawn(simulate);
        listener.serve(registry, operated, async { drop(tokio::signal::ctrl_c().await) }).await;
        simulate.abort();
        Ok(())
    })
}
