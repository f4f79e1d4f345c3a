//! `weir serve` in a workspace, and what it answers.

use std::time::Duration;

use serde_json::Value;
use ureq::http::StatusCode;

use super::case::PATIENCE;
use super::until;
use super::weir::{Finished, Run, Workspace};

/// A running service; its pipelines are in the workspace's `pipelines/`.
pub struct Service {
    pub run: Run,
    /// Without a slash at its end.
    pub url: String,
    agent: ureq::Agent,
}

impl Service {
    /// Starts it on a port of its own, and waits until it answers.
    pub fn start(workspace: &Workspace, environment: &[(&str, &str)]) -> Service {
        let mut all = vec![("WEIR__HTTP__LISTEN", "127.0.0.1:0")];
        all.extend_from_slice(environment);
        Service::of(workspace.spawn_with(["serve"], &all))
    }

    /// A service that was started; waits until it answers.
    pub fn of(mut run: Run) -> Service {
        let mut url = None;
        until("the service says where it answers", PATIENCE, || {
            assert!(run.is_running(), "{}", run.stderr());
            url = lines(&run).iter().find_map(|line| Some(line["url"].as_str()?.to_owned()));
            url.is_some()
        });
        let agent = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
        Service { run, url: url.unwrap(), agent: agent.into() }
    }

    /// What a path answers: status, and body.
    pub fn text(&self, path: &str) -> (StatusCode, String) {
        let mut answer = self.agent.get(format!("{}{path}", self.url)).call().unwrap();
        (answer.status(), answer.body_mut().read_to_string().unwrap())
    }

    /// The JSON of a path, which must succeed.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let (status, text) = self.text(path);
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Asks for something; status, and the answer's JSON.
    pub fn ask(&self, path: &str) -> (u16, Value) {
        let mut answer = self.agent.post(format!("{}{path}", self.url)).send_empty().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
    }

    /// Orders something of a pipeline, and waits until it is so.
    #[track_caller]
    pub fn order(&self, pipeline: &str, what: &str) {
        let (status, answer) = self.ask(&format!("/api/v1/pipelines/{pipeline}/{what}?wait=2m"));
        assert_eq!((status, &answer["done"]), (200, &Value::Bool(true)), "{what}: {answer}\n{}", self.run.stderr());
    }

    /// A pipeline, if there is one of that name.
    pub fn pipeline(&self, name: &str) -> Option<Value> {
        let (status, text) = self.text(&format!("/api/v1/pipelines/{name}"));
        (status == StatusCode::OK).then(|| serde_json::from_str(&text).unwrap())
    }

    /// Waits until a pipeline is as it should be.
    #[track_caller]
    pub fn until(&self, what: &str, pipeline: &str, is: impl Fn(&Value) -> bool) {
        let mut now = Value::Null;
        let asked = std::time::Instant::now();
        while asked.elapsed() < PATIENCE {
            now = self.pipeline(pipeline).unwrap_or_default();
            if is(&now) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("waited in vain until {what}: {now:#}\n{}", self.run.stderr());
    }

    /// What keeps it from being ready.
    pub fn reasons(&self) -> Vec<String> {
        let (status, text) = self.text("/readyz");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["ready"], status.is_success());
        answer["reasons"].as_array().unwrap().iter().map(|reason| reason.as_str().unwrap().to_owned()).collect()
    }

    /// SIGTERM; it must end well.
    #[track_caller]
    pub fn stop(self) -> Finished {
        self.run.signal("TERM");
        self.run.wait(PATIENCE).expect_code(0)
    }
}

/// The lines of its log.
pub fn lines(run: &Run) -> Vec<Value> {
    run.stderr().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
