//! The routes: one function each.

use std::sync::LazyLock;
use std::time::Duration;

use actix_web::error::InternalError;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, get, post, put, route, web};
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::answer::TEXT_BYTES_MAX;
use super::events;
use super::events::PipelineProgress;
use super::reading::ReadError;
use super::view::{
    ClassesView, DefinitionView, EntryView, Failure, FileView, Health, LaneView, Level, Newest, Ordered, PipelineView,
    PipelinesView, ProblemView, Readiness, RejectView, SettingsView, Wait, WindowView,
};
use super::{Context, answer, reading};
use crate::base::codes::{Code, Coded as _};
use crate::base::logging;
use crate::base::panics;
use crate::base::words::{chain, cut};
use crate::model::Pipeline;
use crate::service::board::{Change, Phase, Status, not_ready};
use crate::service::fleet::{FlushOf, Order, Ping, Reload, Reloaded};
use crate::service::keeper::Command;
use crate::service::metrics::CONTENT_TYPE;
use crate::settings::duration;

/// How long the fleet may take to say that it is there.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);
/// The longest wait for a command.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// Bytes of the reasons for which a service is not ready.
const READINESS_BYTES_MAX: usize = 24 << 10;
/// How often a waiting answer looks.
const LOOK: Duration = Duration::from_millis(50);

/// The description of the API.
#[derive(OpenApi)]
#[openapi(
    info(title = "weir", description = "Kafka topics into Parquet datasets: what runs, how far it is, and how it is controlled."),
    paths(
        health, readiness, metrics, pipelines, pipeline, lanes, windows, rejects, files, entries, definition, settings,
        events::events, start, stop, pause, resume, flush, reload, log_level,
    ),
    components(schemas(Change, PipelineProgress, ClassesView, ProblemView)),
    modifiers(&Finish),
    security(("token" = [])),
    tags(
        (name = "service", description = "The process"),
        (name = "pipelines", description = "What runs"),
        (name = "control", description = "What changes something: needs `http.control_token` where tokens are set"),
    ),
)]
pub(super) struct Api;

/// Adds what is the same everywhere: tokens, and what each status means.
struct Finish;

impl utoipa::Modify for Finish {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        api.components.get_or_insert_default().add_security_scheme("token", scheme);
        for (path, item) in &mut api.paths.paths {
            let operations =
                [(Method::GET, &mut item.get), (Method::POST, &mut item.post), (Method::PUT, &mut item.put)];
            for (method, operation) in operations {
                let Some(operation) = operation else { continue };
                let responses = &mut operation.responses.responses;
                let mut fails = vec!["400", "403", "421", "500"];
                if path != "/healthz" {
                    fails.push("401");
                }
                if answer::may_be_large(&method, path) {
                    fails.push("503");
                }
                for status in fails {
                    responses.entry(status.to_owned()).or_insert_with(failure);
                }
                for (status, response) in responses {
                    if let RefOr::T(response) = response
                        && response.description.is_empty()
                    {
                        response.description = meaning(status).to_owned();
                    }
                }
            }
        }
    }
}

/// An answer that says why something could not be done.
fn failure() -> RefOr<Response> {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Failure"))).build();
    RefOr::T(ResponseBuilder::new().content("application/json", content).build())
}

fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "What was asked for",
        "202" => "It is on its way",
        "400" => "The request has a mistake, or names no host",
        "401" => "The token is missing or wrong, where tokens are set",
        "403" => "The token may only read, or a page of another origin or site asks",
        "404" => "There is no such pipeline",
        "409" => "It can't be done as things are",
        "421" => "Not a name of weir's; http.hosts adds one",
        "500" => "A bug in weir",
        "503" => "Not now: too many large answers are on their way, or weir is stopping",
        other => unreachable!("no route answers {other}"),
    }
}

/// The description of the API, as JSON.
pub fn openapi() -> String {
    Api::openapi().to_pretty_json().expect("the description is plain data")
}

pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.app_data(web::QueryConfig::default().error_handler(|error, _| {
        let answer = Failure::answer(
            StatusCode::BAD_REQUEST,
            Code::BadRequest,
            format!("{error}; /docs/ has what a path takes"),
        );
        InternalError::from_response(error, answer).into()
    }));
    app.service(front).service(health).service(readiness).service(metrics);
    app.service(pipelines).service(pipeline).service(lanes).service(windows).service(rejects);
    app.service(files).service(entries).service(definition).service(settings).service(events::events);
    app.service(start).service(stop).service(pause).service(resume).service(flush).service(reload).service(log_level);
}

/// The API's page is what a person who asks for the address alone wants.
#[route("/", method = "GET", method = "HEAD")]
async fn front() -> HttpResponse {
    HttpResponse::TemporaryRedirect().insert_header((header::LOCATION, "/docs/")).finish()
}

/// Answers where no route does: with the methods that the path has, if there is one.
pub(super) async fn nothing_here(request: HttpRequest) -> HttpResponse {
    let methods = methods(request.path());
    if methods.is_empty() {
        return Failure::answer(
            StatusCode::NOT_FOUND,
            Code::NothingHere,
            "there is nothing here; /docs/ has what there is",
        );
    }
    let error = format!("this path takes {methods}; /docs/ has what there is");
    HttpResponse::MethodNotAllowed()
        .insert_header((header::ALLOW, methods))
        .json(Failure::new(Code::MethodNotAllowed, error))
}

/// The methods of a path, as the description has them: `GET, HEAD`; none if there is no such path.
fn methods(path: &str) -> String {
    static PATHS: LazyLock<utoipa::openapi::Paths> = LazyLock::new(|| Api::openapi().paths);
    let fits = |template: &str| {
        let (parts, known) = (path.split('/'), template.split('/'));
        parts.clone().count() == known.clone().count()
            && parts.zip(known).all(|(part, known)| part == known || known.starts_with('{') && !part.is_empty())
    };
    let item = PATHS.paths.iter().find(|(template, _)| fits(template)).map(|(_, item)| item);
    let methods = item.into_iter().flat_map(|item| {
        let has = [("GET", item.get.is_some()), ("POST", item.post.is_some()), ("PUT", item.put.is_some())];
        has.into_iter().filter_map(|(method, there)| there.then_some(method))
    });
    methods.collect::<Vec<_>>().join(", ")
}

/// Whether the process lives
///
/// For whoever restarts it when it doesn't. Needs no token.
#[utoipa::path(get, path = "/healthz", tag = "service", security(()), responses((status = 200, body = Health), (status = 503, body = Failure)))]
#[route("/healthz", method = "GET", method = "HEAD")]
async fn health(context: web::Data<Context>) -> HttpResponse {
    match tokio::time::timeout(ALIVE_WITHIN, context.fleet.send(Ping)).await {
        Ok(Ok(())) => HttpResponse::Ok().json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") }),
        _ => Failure::answer(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::NoAnswer,
            "the service's main thread does not answer",
        ),
    }
}

/// Whether everything runs that should
#[utoipa::path(get, path = "/readyz", tag = "service", responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
#[route("/readyz", method = "GET", method = "HEAD")]
async fn readiness(context: web::Data<Context>) -> HttpResponse {
    let reasons = not_ready(&context.board);
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (all, shown) = (reasons.len(), reasons.iter().map(|reason| cut(reason, TEXT_BYTES_MAX).into_owned()));
    let mut room = READINESS_BYTES_MAX;
    let (mut reasons, truncated) = answer::fit(shown, &mut room);
    if truncated {
        reasons.push(format!("and {} more: /api/v1/pipelines tells", all - reasons.len()));
    }
    HttpResponse::build(status).json(Readiness { ready: reasons.is_empty(), reasons })
}

/// Metrics for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "service", responses((status = 200, description = "text format 0.0.4", content_type = "text/plain", body = String)))]
#[route("/metrics", method = "GET", method = "HEAD")]
async fn metrics(context: web::Data<Context>) -> HttpResponse {
    match web::block(move || context.metrics.text()).await {
        Ok(text) => HttpResponse::Ok().content_type(CONTENT_TYPE).body(text),
        Err(_) => Failure::answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Panicked,
            format!("reading the metrics panicked; {}", panics::blame()),
        ),
    }
}

/// All pipelines, and what a person has to mend
#[utoipa::path(tag = "pipelines", responses((status = 200, body = PipelinesView, headers(("weir-truncated" = bool, description = "true where the list was cut, to 2 MiB")))))]
#[get("/api/v1/pipelines")]
async fn pipelines(context: web::Data<Context>) -> HttpResponse {
    let (problems, statuses) = (context.board.problems(), context.board.pipelines());
    let waiting: Vec<_> = statuses.iter().flat_map(|(name, status)| ProblemView::of_group(name, status)).collect();
    let view = |(name, status): (String, Status)| PipelineView::new(name, &status, &problems);
    // What a person has to mend leaves at least half of the room to the pipelines.
    let mut room = answer::BYTES_MAX / 2;
    let mend = problems.iter().cloned().map(ProblemView::from).chain(waiting);
    let (mend, some_left_out_of_it) = answer::fit(mend, &mut room);
    room += answer::BYTES_MAX / 2;
    let (pipelines, some_left_out) = answer::fit(statuses.into_iter().map(view), &mut room);
    answer::json(&PipelinesView { pipelines, problems: mend }, some_left_out || some_left_out_of_it)
}

/// A pipeline
#[utoipa::path(tag = "pipelines", responses((status = 200, body = PipelineView), (status = 404, body = Failure)))]
#[get("/api/v1/pipelines/{name}")]
async fn pipeline(context: web::Data<Context>, name: web::Path<String>) -> HttpResponse {
    let name = name.into_inner();
    match context.board.pipeline(&name) {
        Some(status) => HttpResponse::Ok().json(PipelineView::new(name, &status, &context.board.problems())),
        None => unknown(&name),
    }
}

/// A pipeline's partitions
#[utoipa::path(tag = "pipelines", responses((status = 200, body = [LaneView], headers(("weir-truncated" = bool, description = "true where the list was cut, to 2 MiB"))), (status = 404, body = Failure)))]
#[get("/api/v1/pipelines/{name}/lanes")]
async fn lanes(context: web::Data<Context>, name: web::Path<String>) -> HttpResponse {
    let Some(status) = context.board.pipeline(&name) else { return unknown(&name) };
    let lanes = status.run.map(|run| run.progress.snapshot().lanes).unwrap_or_default();
    answer::list(lanes.iter().map(|(partition, lane)| LaneView::new(partition, lane)))
}

/// A pipeline's newest windows of time
///
/// They are summed over the whole ledger: the longer it is, the longer this takes.
#[utoipa::path(tag = "pipelines", params(Newest), responses((status = 200, body = [WindowView], headers(("weir-truncated" = bool, description = "true where the list was cut, to 2 MiB"))), (status = 404, body = Failure), (status = 409, body = Failure)))]
#[get("/api/v1/pipelines/{name}/windows")]
async fn windows(context: web::Data<Context>, name: web::Path<String>, newest: web::Query<Newest>) -> HttpResponse {
    read(&context, &name, *newest, reading::windows).await
}

/// A pipeline's newest rejects
///
/// Of the newest 1000 commits. Of each payload the first 1024 characters are shown.
#[utoipa::path(tag = "pipelines", params(Newest), responses((status = 200, body = [RejectView], headers(("weir-truncated" = bool, description = "true where the list was cut, to 2 MiB"))), (status = 404, body = Failure), (status = 409, body = Failure)))]
#[get("/api/v1/pipelines/{name}/rejects")]
async fn rejects(context: web::Data<Context>, name: web::Path<String>, newest: web::Query<Newest>) -> HttpResponse {
    read(&context, &name, *newest, reading::rejects).await
}

/// A pipeline's newest files
///
/// Of the newest 1000 commits.
#[utoipa::path(tag = "pipelines", params(Newest), responses((status = 200, body = [FileView], headers(("weir-truncated" = bool, description = "true where the list was cut, to 2 MiB"))), (status = 404, body = Failure), (status = 409, body = Failure)))]
#[get("/api/v1/pipelines/{name}/files")]
async fn files(context: web::Data<Context>, name: web::Path<String>, newest: web::Query<Newest>) -> HttpResponse {
    read(&context, &name, *newest, reading::files).await
}

/// The newest entries of a pipeline's ledger
#[utoipa::path(tag = "pipelines", params(Newest), responses((status = 200, body = [EntryView], headers(("weir-truncated" = bool, description = "true where the list was cut, to 2 MiB"))), (status = 404, body = Failure), (status = 409, body = Failure)))]
#[get("/api/v1/pipelines/{name}/ledger")]
async fn entries(context: web::Data<Context>, name: web::Path<String>, newest: web::Query<Newest>) -> HttpResponse {
    read(&context, &name, *newest, reading::entries).await
}

/// A pipeline's definition
#[utoipa::path(tag = "pipelines", responses((status = 200, body = DefinitionView), (status = 404, body = Failure)))]
#[get("/api/v1/pipelines/{name}/config")]
async fn definition(context: web::Data<Context>, name: web::Path<String>) -> HttpResponse {
    let Some(status) = context.board.pipeline(&name) else { return unknown(&name) };
    HttpResponse::Ok().json(DefinitionView {
        file: status.file.display().to_string(),
        hash: status.pipeline.hash.clone(),
        definition: reading::definition(&status.pipeline),
    })
}

/// The settings of the process
#[utoipa::path(tag = "service", responses((status = 200, body = SettingsView)))]
#[get("/api/v1/config")]
async fn settings(context: web::Data<Context>) -> HttpResponse {
    let settings = &context.settings;
    let http = settings.http.as_ref();
    let masked = |there: bool| there.then_some("***");
    HttpResponse::Ok().json(SettingsView {
        memory_bytes: settings.limits.memory,
        drain_seconds: settings.limits.drain.as_secs_f64(),
        backoff_min_seconds: settings.restart.backoff_min.as_secs_f64(),
        backoff_max_seconds: settings.restart.backoff_max.as_secs_f64(),
        failures_until_parked: settings.restart.failures_until_parked,
        log_level: logging::level(),
        listen: http.map(|http| http.listen.to_string()),
        read_token: masked(http.is_some_and(|http| http.read_token.is_some())),
        control_token: masked(http.is_some_and(|http| http.control_token.is_some())),
        tls: http.is_some_and(|http| http.tls.is_some()),
        instance: settings.instance.clone(),
    })
}

/// Start a pipeline that was stopped or failed
#[utoipa::path(tag = "control", params(Wait), responses((status = 200, body = Ordered), (status = 202, body = Ordered), (status = 404, body = Failure)))]
#[post("/api/v1/pipelines/{name}/start")]
async fn start(context: web::Data<Context>, name: web::Path<String>, wait: web::Query<Wait>) -> HttpResponse {
    order(&context, Order { pipeline: name.into_inner(), command: Command::Start }, &wait, Phase::Running).await
}

/// Stop a pipeline
///
/// It commits what it has and leaves its group, until it is started or the service is.
#[utoipa::path(tag = "control", params(Wait), responses((status = 200, body = Ordered), (status = 202, body = Ordered), (status = 404, body = Failure)))]
#[post("/api/v1/pipelines/{name}/stop")]
async fn stop(context: web::Data<Context>, name: web::Path<String>, wait: web::Query<Wait>) -> HttpResponse {
    order(&context, Order { pipeline: name.into_inner(), command: Command::Stop }, &wait, Phase::Stopped).await
}

/// Pause a pipeline
///
/// It commits what it has and reads no more, but keeps its partitions, until it is resumed or the service is started again.
#[utoipa::path(tag = "control", params(Wait), responses((status = 200, body = Ordered), (status = 202, body = Ordered), (status = 404, body = Failure)))]
#[post("/api/v1/pipelines/{name}/pause")]
async fn pause(context: web::Data<Context>, name: web::Path<String>, wait: web::Query<Wait>) -> HttpResponse {
    order(&context, Order { pipeline: name.into_inner(), command: Command::Pause }, &wait, Phase::Paused).await
}

/// Resume a paused pipeline
#[utoipa::path(tag = "control", params(Wait), responses((status = 200, body = Ordered), (status = 202, body = Ordered), (status = 404, body = Failure)))]
#[post("/api/v1/pipelines/{name}/resume")]
async fn resume(context: web::Data<Context>, name: web::Path<String>, wait: web::Query<Wait>) -> HttpResponse {
    order(&context, Order { pipeline: name.into_inner(), command: Command::Resume }, &wait, Phase::Running).await
}

/// Commit everything that a pipeline has read
///
/// Answered when it is in the dataset, or when `wait` is over (30 s unless it is given); then it goes on.
#[utoipa::path(tag = "control", params(Wait), responses((status = 200, body = Ordered), (status = 202, body = Ordered), (status = 404, body = Failure), (status = 409, body = Failure)))]
#[post("/api/v1/pipelines/{name}/flush")]
async fn flush(context: web::Data<Context>, name: web::Path<String>, wait: web::Query<Wait>) -> HttpResponse {
    let patience = match wait.patience() {
        Ok(patience) => patience.unwrap_or(Duration::from_secs(30)),
        Err(answer) => return answer,
    };
    let asked = context.fleet.send(FlushOf(name.clone()));
    // Nothing is taken back when the time is over: the lanes commit all the same.
    let phase = || context.board.pipeline(&name).map_or(Phase::Stopped, |status| status.phase);
    match tokio::time::timeout(patience, asked).await {
        Ok(Ok(Some(Ok(true)))) => HttpResponse::Ok().json(Ordered { phase: phase(), done: true }),
        Ok(Ok(Some(Ok(false)))) => Failure::answer(
            StatusCode::CONFLICT,
            Code::NotCommitted,
            "not every lane could commit; the log says why, and each goes on from its ledger",
        ),
        Ok(Ok(Some(Err(phase)))) => {
            Failure::answer(StatusCode::CONFLICT, Code::NotReading, format!("{name} reads nothing: it is {phase}"))
        }
        Ok(Ok(None)) => unknown(&name),
        Ok(Err(_)) | Err(_) => HttpResponse::Accepted().json(Ordered { phase: phase(), done: false }),
    }
}

/// Read the pipeline files again
///
/// Also SIGHUP does; changed files are noticed after some seconds anyway, but not changed variables and secrets.
#[utoipa::path(tag = "control", responses((status = 200, body = Reloaded), (status = 503, body = Failure)))]
#[post("/api/v1/reload")]
async fn reload(context: web::Data<Context>) -> HttpResponse {
    match context.fleet.send(Reload).await {
        Ok(Ok(reloaded)) => HttpResponse::Ok().json(reloaded),
        Ok(Err(reason)) => Failure::answer(StatusCode::SERVICE_UNAVAILABLE, Code::NotReloaded, reason),
        Err(_) => Failure::answer(StatusCode::SERVICE_UNAVAILABLE, Code::NoAnswer, "weir is stopping"),
    }
}

/// Change the log's level
#[utoipa::path(tag = "control", params(Level), responses((status = 204, description = "changed"), (status = 400, body = Failure)))]
#[put("/api/v1/log")]
async fn log_level(level: web::Query<Level>) -> HttpResponse {
    match logging::set_level(&level.level) {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(reason) => Failure::answer(StatusCode::BAD_REQUEST, Code::BadRequest, reason),
    }
}

fn unknown(name: &str) -> HttpResponse {
    Failure::answer(
        StatusCode::NOT_FOUND,
        Code::NoSuchPipeline,
        format!("there is no pipeline {name:?}; /api/v1/pipelines lists them"),
    )
}

/// Answers with what `what` reads of a pipeline's dataset.
async fn read<T: serde::Serialize + Send + 'static>(
    context: &Context,
    name: &str,
    newest: Newest,
    what: fn(&Pipeline, usize) -> Result<Vec<T>, ReadError>,
) -> HttpResponse {
    let Some(status) = context.board.pipeline(name) else { return unknown(name) };
    let limit = match newest.limit() {
        Ok(limit) => limit,
        Err(answer) => return answer,
    };
    // One at a time: the other thread is for what must not wait.
    let _turn = context.reading.acquire().await;
    match web::block(move || what(&status.pipeline, limit)).await {
        Ok(Ok(found)) => answer::list(found),
        Ok(Err(error)) => Failure::answer(StatusCode::CONFLICT, error.code(), chain(&error)),
        Err(_) => Failure::answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Panicked,
            format!("reading the dataset panicked; {}", panics::blame()),
        ),
    }
}

/// Passes a command on, and waits until the pipeline is in `phase`, if that is wanted.
async fn order(context: &Context, order: Order, wait: &Wait, phase: Phase) -> HttpResponse {
    let patience = match wait.patience() {
        Ok(patience) => patience,
        Err(answer) => return answer,
    };
    let name = order.pipeline.clone();
    if !context.fleet.send(order).await.unwrap_or(false) {
        return unknown(&name);
    }
    let until = tokio::time::Instant::now() + patience.unwrap_or_default();
    loop {
        let Some(status) = context.board.pipeline(&name) else { return unknown(&name) };
        let done = status.phase == phase;
        if done && patience.is_some() || tokio::time::Instant::now() >= until {
            let answer = if done { StatusCode::OK } else { StatusCode::ACCEPTED };
            return HttpResponse::build(answer).json(Ordered { phase: status.phase, done });
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Wait {
    /// How long to wait, if at all.
    fn patience(&self) -> Result<Option<Duration>, HttpResponse> {
        let Some(text) = &self.wait else { return Ok(None) };
        match duration(text).filter(|patience| *patience <= WAIT_MAX) {
            Some(patience) => Ok(Some(patience)),
            None => Err(Failure::answer(
                StatusCode::BAD_REQUEST,
                Code::BadRequest,
                format!("wait is {text:?}; write a whole number and ms, s or m, at the most 10m"),
            )),
        }
    }
}
