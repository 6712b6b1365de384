//! The status page's files, which are part of the program: the page works where there is nothing but the service.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::Shared;

/// The description of the API.
pub(super) const OPENAPI: &str = include_str!("../../page/openapi.json");

/// Path, media type, content.
type Asset = (&'static str, &'static str, &'static str);

macro_rules! page {
    ($($path:literal $kind:ident $file:literal,)*) => {
        [$(($path, $kind, include_str!(concat!("../../page/", $file)))),*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

const ASSETS: [Asset; 16] = page! {
    "/" HTML "index.html",
    "/page/style.css" STYLE "style.css",
    "/page/parts.css" STYLE "parts.css",
    "/page/app.js" SCRIPT "app.js",
    "/page/bar.js" SCRIPT "bar.js",
    "/page/chart.js" SCRIPT "chart.js",
    "/page/clients.js" SCRIPT "clients.js",
    "/page/detail.js" SCRIPT "detail.js",
    "/page/dialogs.js" SCRIPT "dialogs.js",
    "/page/dom.js" SCRIPT "dom.js",
    "/page/exports.js" SCRIPT "exports.js",
    "/page/format.js" SCRIPT "format.js",
    "/page/map.js" SCRIPT "map.js",
    "/page/server.js" SCRIPT "server.js",
    "/page/theme.js" SCRIPT "theme.js",
    "/favicon.svg" IMAGE "favicon.svg",
};

pub(super) fn routes() -> Router<Shared> {
    ASSETS.iter().fold(Router::new(), |router, &(path, kind, content)| {
        router.route(path, get(async move || ([(header::CONTENT_TYPE, kind)], content).into_response()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_the_page_asks_for_is_there() {
        let known = |path: &str| ASSETS.iter().any(|(known, ..)| *known == path);
        for (_, kind, content) in ASSETS {
            let quote = |text: &str| text.split(['"', '\'']).next().map(str::to_owned);
            let wanted: Vec<String> = match kind {
                HTML => content.split("src=\"").chain(content.split("href=\"")).skip(1).filter_map(quote).collect(),
                SCRIPT => content.split(" from \"./").skip(1).filter_map(quote).map(|name| format!("/page/{name}")).collect(),
                _ => Vec::new(),
            };
            for path in wanted.iter().filter(|path| path.starts_with('/')) {
                assert!(known(path), "{path}");
            }
        }
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for (path, _, content) in ASSETS {
            let foreign = content.replace("http://www.w3.org/2000/svg", "");
            assert!(!foreign.contains("http://") && !foreign.contains("https://") && !foreign.contains("\"//"), "{path}");
        }
    }
}
