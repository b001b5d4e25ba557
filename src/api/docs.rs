//! The description of the service: `/openapi.json`, and `/docs` as a page that needs nothing from elsewhere.

use axum::Router;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathsBuilder, ResponseBuilder,
};
use utoipa_swagger_ui::SwaggerUi;

use crate::api::{State, gate};

const DESCRIPTION: &str = "/openapi.json";
const PAGE: &str = "/docs";

/// What is described beside the calls: who describes them, and itself.
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
    let description = open("get_description", "This description", "application/json", Type::Object);
    let page = open("get_page", "This description as a page, to try calls out", "text/html", Type::String);
    let paths = PathsBuilder::new().path(DESCRIPTION, description).path(format!("{PAGE}/"), page).build();
    OpenApiBuilder::new().info(info).paths(paths).components(Some(gate::scheme())).build()
}

pub(super) fn routes(description: OpenApi) -> Router<State> {
    SwaggerUi::new(PAGE).url(DESCRIPTION, description).into()
}

/// A call without parameters that everybody may make.
fn open(id: &str, summary: &str, content_type: &str, answer: Type) -> PathItem {
    let content = ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(answer).build())).build();
    let response = ResponseBuilder::new().description(summary).content(content_type, content).build();
    let operation = OperationBuilder::new()
        .operation_id(Some(id))
        .summary(Some(summary))
        .tag("system")
        .response("200", response)
        .build();
    PathItem::new(HttpMethod::Get, operation)
}
