//! Query parameters and JSON bodies, read with an error that a person and a program can use.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::observed::{Fault, FaultKind};

/// What stands after the question mark.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Asked<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let refused = |rejection: QueryRejection| Fault::new(FaultKind::Invalid, rejection.body_text());
        Query::from_request_parts(parts, state).await.map(|Query(asked)| Self(asked)).map_err(refused)
    }
}

/// A JSON body.
pub(super) struct Sent<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let refused = |rejection: JsonRejection| Fault::new(FaultKind::Invalid, rejection.body_text());
        Json::from_request(request, state).await.map(|Json(sent)| Self(sent)).map_err(refused)
    }
}

/// Which export. A parameter and not a part of the path: a name may be empty and may hold slashes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichExport {
    pub(super) name: String,
}

/// Which export to remove.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removal {
    pub(super) name: String,
    #[serde(default)]
    pub(super) force: bool,
}

/// Which part of which export, in how many cells.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MapRange {
    pub(super) name: String,
    #[serde(default)]
    pub(super) offset: u64,
    #[serde(default)]
    pub(super) length: u64,
    #[serde(default = "cells")]
    pub(super) cells: usize,
}

fn cells() -> usize {
    1024
}

/// Whose past: an export's, or that of all together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhosePast {
    pub(super) name: Option<String>,
}

/// Which client or job.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichNumber {
    pub(super) id: u64,
}
