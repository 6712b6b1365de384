//! The service as a whole: starts everything, accepts clients, and ends in order.
//!
//! | module | what it does |
//! |---|---|
//! | [`reception`] | accepts clients and hands them to workers |
//! | [`signals`] | what a signal means |
//! | [`operator`] | what the admin side may see and do; [`jobs`], its long work |
//! | [`notify`] | tells systemd |
//! | [`announce`] | the lines that say where clients may come |

mod announce;
mod jobs;
mod notify;
mod operator;
mod reception;
mod signals;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use admin::observed::ListenerState;
use admin::{AdminConfig, AdminListener, Registry, Token};
use security::TlsServer;
use thiserror::Error;
use tokio::sync::{Semaphore, watch};

use crate::clients::Clients;
use crate::config::{Config, LISTEN, Mistake};
use crate::exports::{Catalogue, CatalogueError, Cut, Link, expire};
use crate::listener::{ListenError, Listener, Protection};
use crate::worker::{Shared, Worker};
use operator::Operator;
use reception::{Reception, accept};
use signals::{Signals, Told};

/// How often the certificates of connected clients are looked at again.
const RECHECK: Duration = Duration::from_secs(60);

/// Why the service ended otherwise than by a signal, or not well.
#[derive(Debug, Error)]
pub(crate) enum ServiceError {
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    #[error("{0}")]
    Listen(#[from] ListenError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Tls(#[from] security::TlsError),
    #[error("{0}")]
    Mistake(#[from] Mistake),
    #[error("{0}")]
    Admin(String),
    #[error("not everything could be flushed; what was not flushed before may be lost")]
    NotFlushed,
    #[error("a worker failed")]
    WorkerFailed,
}

/// Serves until a signal, or until it cannot begin. `reread` reads the configuration again.
pub(crate) fn run(config: &Config, reread: impl Fn() -> Result<Config, Mistake>) -> Result<(), ServiceError> {
    raise_file_limit();
    let tls = config.tls.as_ref().map(TlsServer::load).transpose()?.map(Arc::new);
    if let Some(tls) = &tls {
        tracing::info!("TLS: {}", tls.summary());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (catalogue, leaving) = Catalogue::open(config)?;
    let shared = Arc::new(Shared {
        catalogue: catalogue.clone(),
        tls,
        registry: Arc::new(Registry::default()),
        clients: Clients::default(),
        room: Arc::new(Semaphore::new((config.limits.bytes / 1024) as usize)),
    });
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let listeners = bind(config, &shared).await?;
        let (end, ending) = watch::channel(false);
        let (reception, threads) = start(config, &shared, &ending)?;
        let admin = serve_admin(config, &shared, &listeners, ending.clone()).await?;
        tokio::spawn(expire(catalogue.clone(), leaving));
        if shared.tls.is_some() {
            tokio::spawn(watch_certificates(shared.clone()));
        }
        announce::announce(&listeners, admin.as_ref(), &shared.catalogue)?;
        let accepting: Vec<_> = listeners.into_iter().map(|listener| tokio::spawn(accept(listener, reception.clone()))).collect();
        notify::ready();
        let name = loop {
            match signals.next().await {
                Told::End(name) => break name,
                Told::Reload => reload(&shared, &reread).await,
            }
        };
        tracing::info!("{name}: ending");
        notify::stopping();
        for task in accepting {
            task.abort();
            // The listener, and the name of its socket, go with the task.
            let _ = task.await;
        }
        end.send_replace(true);
        catalogue.end();
        let mut finished = tokio::task::spawn_blocking(move || finish(threads, &catalogue));
        loop {
            tokio::select! {
                result = &mut finished => break result.unwrap_or(Err(ServiceError::WorkerFailed)),
                told = signals.next() => if let Told::End(name) = told {
                    // Not an orderly return: that would wait for the very thing that takes too long.
                    tracing::error!("{name} again: ending at once, nothing was flushed");
                    std::process::exit(1)
                }
            }
        }
    })
}

/// Every connection takes a file descriptor, and files that stores keep open do: as many as the system lets us have.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of open files could not be raised: {error}");
    }
}

async fn bind(config: &Config, shared: &Shared) -> Result<Vec<Listener>, ServiceError> {
    let tls = shared.tls.as_ref().map(|tls| tls.client_certificates());
    let protection = Protection { tls, insecure: config.insecure_any_address };
    let mut listeners = Listener::passed(protection)?;
    let default = [LISTEN.parse().map_err(Mistake::new)?];
    let wanted = if config.listen.is_empty() && listeners.is_empty() { &default[..] } else { &config.listen };
    for spec in wanted {
        listeners.push(Listener::bind(spec, protection).await?);
    }
    Ok(listeners)
}

/// Starts the workers.
fn start(
    config: &Config,
    shared: &Arc<Shared>,
    ending: &watch::Receiver<bool>,
) -> Result<(Arc<Reception>, Vec<JoinHandle<()>>), ServiceError> {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let count = config.workers.map_or_else(processors, usize::from);
    let workers = (0..count).map(|number| Worker::start(number, shared.clone(), ending.clone()));
    let (workers, threads) = workers.collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
    Ok((Arc::new(Reception::new(workers, config.limits.connections)), threads))
}

/// Starts the admin side, if there is to be one; returns where it is.
async fn serve_admin(
    config: &Config,
    shared: &Arc<Shared>,
    listeners: &[Listener],
    mut ending: watch::Receiver<bool>,
) -> Result<Option<String>, ServiceError> {
    let Some(wanted) = &config.admin else { return Ok(None) };
    let told = |error: &dyn std::error::Error| ServiceError::Admin(error.to_string());
    let address = wanted.listen.parse().map_err(ServiceError::Admin)?;
    let token = wanted.token_file.as_deref().map(Token::from_file).transpose().map_err(|error| told(&error))?;
    let listener = AdminListener::bind(AdminConfig { address, token, host_names: Vec::new() }).await.map_err(|error| told(&error))?;
    let address = listener.address().to_string();
    let state = |listener: &Listener| ListenerState { uri: listener.uri(""), protection: listener.protection().into() };
    let operator = Operator::new(shared.clone(), listeners.iter().map(state).collect());
    let registry = shared.registry.clone();
    tokio::spawn(async move {
        // An error means that whoever could say so is gone, which is an end as well.
        let ended = async move { drop(ending.wait_for(|&ending| ending).await) };
        listener.serve(registry, Arc::new(operator), ended).await;
    });
    Ok(Some(address))
}

/// Reads certificates, rules and exports again. What is wrong changes nothing.
async fn reload(shared: &Arc<Shared>, reread: &impl Fn() -> Result<Config, Mistake>) {
    notify::reloading();
    let config = match reread() {
        Ok(config) => config,
        Err(mistake) => {
            tracing::error!("SIGHUP: nothing changed: {mistake}");
            return notify::ready();
        }
    };
    let shared = shared.clone();
    let reloaded = tokio::task::spawn_blocking(move || {
        if let Some(tls) = &shared.tls {
            match tls.reload() {
                Ok(()) => tracing::info!("TLS: {}", tls.summary()),
                Err(error) => tracing::error!("SIGHUP: the certificates stay as they were: {error}"),
            }
        }
        shared.catalogue.reload(&config, |link| is_trusted(&shared, link))
    });
    match reloaded.await {
        Ok(Ok(())) => tracing::info!("SIGHUP: configuration, rules and certificates were read again"),
        Ok(Err(error)) => tracing::error!("SIGHUP: {error}"),
        Err(error) => tracing::error!("SIGHUP: {error}"),
    }
    notify::ready();
}

/// Whether a client's certificate, if it has one, is still good.
fn is_trusted(shared: &Shared, link: &Link) -> bool {
    match shared.tls.as_ref().map(|tls| tls.recheck(&link.identity)) {
        Some(Err(error)) => {
            tracing::warn!(identity = link.label, "{error}");
            false
        }
        _ => true,
    }
}

/// Disconnects clients whose certificates expire while they are here.
async fn watch_certificates(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(RECHECK).await;
        let links = shared.catalogue.entries().into_iter().flat_map(|entry| entry.links());
        links.filter(|link| !is_trusted(&shared, link)).for_each(|link| link.pull(Cut::Revoked));
    }
}

/// Waits until all clients are gone, and makes what they wrote durable.
fn finish(threads: Vec<JoinHandle<()>>, catalogue: &Catalogue) -> Result<(), ServiceError> {
    let failed = threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
    match (catalogue.flush(), failed) {
        (false, _) => Err(ServiceError::NotFlushed),
        (true, 0) => Ok(()),
        (true, _) => Err(ServiceError::WorkerFailed),
    }
}
