//! The JSON API, version 1. `page/openapi.json` describes it, and a test compares the two.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Json, Router};

use super::query::{Asked, MapRange, Removal, Sent, WhichExport, WhichNumber, WhosePast};
use super::{Shared, assets, events, waiting};
use crate::map::{AllocationMap, CELLS_MAX};
use crate::observed::{ExportState, Fault, FaultKind, JobState, NewExport, Operated};
use crate::sampler::{ExportSample, Past, Sample};

/// Paths below `/api/v1`, the methods they have, and who answers. A table, so that a test can go through it.
type Route = (&'static str, &'static [&'static str], fn() -> MethodRouter<Shared>);
const ROUTES: [Route; 10] = [
    ("/status", &["get"], || get(status)),
    ("/events", &["get"], || get(events::events)),
    ("/history", &["get"], || get(history)),
    ("/exports", &["get", "post"], || get(exports).post(create)),
    ("/export", &["get", "delete"], || get(export).delete(remove)),
    ("/export/map", &["get"], || get(map)),
    ("/export/check", &["post"], || post(check)),
    ("/client", &["delete"], || delete(disconnect)),
    ("/job", &["get", "delete"], || get(job).delete(cancel)),
    ("/openapi.json", &["get"], || get(openapi)),
];

pub(super) fn routes() -> Router<Shared> {
    ROUTES.iter().fold(Router::new(), |router, (path, _, handler)| router.route(path, handler()))
}

/// The last sample: the service, its exports, its clients.
async fn status(State(admin): State<Shared>) -> Json<Sample> {
    Json((*admin.sampler.latest()).clone())
}

async fn history(State(admin): State<Shared>, Asked(asked): Asked<WhosePast>) -> Result<Json<Past>, Fault> {
    if let Some(past) = admin.sampler.past(asked.name.as_deref()) {
        return Ok(Json(past));
    }
    // One that is younger than the last sample has no past yet.
    let name = asked.name.unwrap_or_default();
    ask(admin, move |service| match service.exports().iter().any(|export| export.name == name) {
        true => Ok(Json(Past::default())),
        false => Err(Fault::no_export(&name)),
    })
    .await
}

async fn exports(State(admin): State<Shared>) -> Result<Json<Vec<ExportState>>, Fault> {
    ask(admin, |service| Ok(service.exports())).await.map(Json)
}

async fn create(State(admin): State<Shared>, Sent(wanted): Sent<NewExport>) -> Result<Response, Fault> {
    if wanted.size == 0 || i64::try_from(wanted.size).is_err() {
        return Err(Fault::new(FaultKind::Invalid, "size: expected a number of bytes from 1 to 2^63 - 1"));
    }
    let made = ask(admin, move |service| service.create_export(&wanted)).await?;
    tracing::info!("export `{}` was created by the admin API", made.name);
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// An export with its rates, if it was there when the last sample was taken.
async fn export(State(admin): State<Shared>, Asked(asked): Asked<WhichExport>) -> Result<Json<ExportSample>, Fault> {
    let sampled = admin.sampler.latest().exports.iter().find(|export| export.state.name == asked.name).cloned();
    let name = asked.name.clone();
    let states = ask(admin, |service| Ok(service.exports())).await?;
    let state = states.into_iter().find(|export| export.name == name).ok_or_else(|| Fault::no_export(&name))?;
    Ok(Json(ExportSample { state, ..sampled.unwrap_or_default() }))
}

async fn remove(State(admin): State<Shared>, Asked(asked): Asked<Removal>) -> Result<StatusCode, Fault> {
    let (name, registry) = (asked.name.clone(), admin.registry.clone());
    ask(admin, move |service| service.remove_export(&asked.name, asked.force)).await?;
    registry.forget(&name);
    tracing::info!("export `{name}` was removed by the admin API");
    Ok(StatusCode::NO_CONTENT)
}

async fn map(State(admin): State<Shared>, Asked(asked): Asked<MapRange>) -> Result<Json<AllocationMap>, Fault> {
    if !(1..=CELLS_MAX).contains(&asked.cells) {
        return Err(Fault::new(FaultKind::Invalid, format!("cells: expected a number from 1 to {CELLS_MAX}")));
    }
    ask(admin, move |service| service.map(&asked.name, asked.offset, asked.length, asked.cells)).await.map(Json)
}

async fn check(State(admin): State<Shared>, Asked(asked): Asked<WhichExport>) -> Result<Response, Fault> {
    let job = ask(admin, move |service| service.check_export(&asked.name)).await?;
    Ok((StatusCode::ACCEPTED, Json(job)).into_response())
}

async fn disconnect(State(admin): State<Shared>, Asked(asked): Asked<WhichNumber>) -> Result<StatusCode, Fault> {
    ask(admin, move |service| service.disconnect(asked.id)).await?;
    tracing::info!("client {} was disconnected by the admin API", asked.id);
    Ok(StatusCode::NO_CONTENT)
}

async fn job(State(admin): State<Shared>, Asked(asked): Asked<WhichNumber>) -> Result<Json<JobState>, Fault> {
    let none = Fault::new(FaultKind::NotFound, format!("there is no job {}", asked.id));
    let jobs = ask(admin, |service| Ok(service.jobs())).await?;
    jobs.into_iter().find(|job| job.id == asked.id).map(Json).ok_or(none)
}

async fn cancel(State(admin): State<Shared>, Asked(asked): Asked<WhichNumber>) -> Result<StatusCode, Fault> {
    ask(admin, move |service| service.cancel_job(asked.id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], assets::OPENAPI).into_response()
}

/// Has a thread that may wait ask the service.
async fn ask<T: Send + 'static>(
    admin: Shared,
    question: impl FnOnce(&dyn Operated) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    waiting(move || question(&*admin.service)).await?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_description_has_the_same_paths_and_methods() {
        let description: serde_json::Value = serde_json::from_str(assets::OPENAPI).unwrap();
        let described: BTreeSet<(String, String)> = description["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| item.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())))
            .collect();
        let routed =
            ROUTES.iter().flat_map(|(path, methods, _)| methods.iter().map(move |method| (format!("/api/v1{path}"), (*method).into())));
        let open = ["/metrics", "/healthz", "/readyz"].map(|path| (path.into(), "get".into()));
        assert_eq!(described, routed.chain(open).collect());
    }
}
