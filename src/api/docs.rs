//! The description of the service: `/openapi.json`, and `/docs` as a page that needs nothing from elsewhere.

use axum::Router;
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};
use utoipa_swagger_ui::SwaggerUi;

use crate::api::{State, gate};

pub(super) fn head() -> OpenApi {
    let licence = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("Freshet")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "A real-time feature store: lookups, ingest, definitions, training sets, backfills and parity.",
        ))
        .license(Some(licence))
        .build();
    OpenApiBuilder::new().info(info).components(Some(gate::scheme())).build()
}

pub(super) fn routes(description: OpenApi) -> Router<State> {
    SwaggerUi::new("/docs").url("/openapi.json", description).into()
}
