//! The admin listener: HTTP on an address of its own, so that who operates the service and who uses it can be kept apart.
//!
//! | path | what it is |
//! |---|---|
//! | `/` | the status page |
//! | `/metrics` | for Prometheus |
//! | `/healthz`, `/readyz` | whether the process works; whether it takes clients |
//! | `/api/v1/…` | JSON; `/api/v1/openapi.json` describes it |

mod address;
mod api;
mod assets;
mod events;
mod guard;
mod listener;
mod query;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics::Registry;
use crate::observed::{Fault, FaultKind, Operated};
use crate::prometheus;
use crate::sampler::Sampler;

pub use address::AdminAddress;
pub use listener::{AdminConfig, AdminError, AdminListener};
pub use token::{Token, TokenError};

/// What every handler may need.
pub(crate) struct Admin {
    pub(crate) registry: Arc<Registry>,
    pub(crate) service: Arc<dyn Operated>,
    pub(crate) sampler: Arc<Sampler>,
    pub(crate) guard: guard::Guard,
}

type Shared = Arc<Admin>;

fn router(admin: Shared) -> Router {
    // Whoever may reach these learns nothing about exports or clients.
    let open = Router::new().merge(assets::routes()).route("/healthz", get(async || "ok\n")).route("/readyz", get(readyz));
    let closed = Router::new()
        .route("/metrics", get(metrics))
        .nest("/api/v1", api::routes())
        .route_layer(middleware::from_fn_with_state(admin.clone(), with_token));
    let all = open.merge(closed).fallback(nowhere).method_not_allowed_fallback(not_that_way);
    all.layer(middleware::from_fn_with_state(admin.clone(), guarded)).with_state(admin)
}

/// Every answer goes through here: who may not ask is told so, and browsers are told what not to do with the answer.
async fn guarded(State(admin): State<Shared>, request: Request, next: middleware::Next) -> Response {
    let mut response = match admin.guard.admit(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(fault) => fault.into_response(),
    };
    guard::harden(response.headers_mut());
    response
}

async fn with_token(State(admin): State<Shared>, request: Request, next: middleware::Next) -> Response {
    match admin.guard.authorize(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(fault) => {
            let mut response = fault.into_response();
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            response
        }
    }
}

async fn readyz(State(admin): State<Shared>) -> Response {
    match waiting(move || admin.service.service().not_ready).await {
        Ok(None) => "ready\n".into_response(),
        Ok(Some(reason)) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response(),
        Err(fault) => fault.into_response(),
    }
}

async fn metrics(State(admin): State<Shared>) -> Result<Response, Fault> {
    let text = waiting(move || prometheus::scrape(&admin.registry, &*admin.service)).await?;
    Ok(([(header::CONTENT_TYPE, prometheus::MEDIA_TYPE)], text).into_response())
}

async fn nowhere() -> Fault {
    Fault::new(FaultKind::NotFound, "there is nothing here; /api/v1/openapi.json says what there is")
}

async fn not_that_way() -> Response {
    let fault = Fault::new(FaultKind::Invalid, "this path has other methods; /api/v1/openapi.json says which");
    (StatusCode::METHOD_NOT_ALLOWED, axum::Json(fault)).into_response()
}

/// Has a thread that may wait ask the service.
async fn waiting<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let failed = |_| Fault::new(FaultKind::Failed, "the service failed while it was asked; its log says more");
    tokio::task::spawn_blocking(ask).await.map_err(failed)
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(self)).into_response()
    }
}
