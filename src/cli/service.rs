//! The service that a command talks to: one that runs elsewhere, or (`--local`) one in the command's own process,
//! called over loopback, so that both are the same calls.

use anyhow::Context;

use crate::app::App;
use crate::cli::client::Client;
use crate::cli::serve::Settings;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Connection {
    /// The service to talk to
    #[arg(long, env = "FRESHET_URL", default_value = "http://127.0.0.1:6566", value_name = "URL")]
    url: String,
    /// The API key to send
    #[arg(long, env = "FRESHET_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
}

impl Connection {
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::new(&self.url, self.api_key.clone())
    }
}

/// For commands that can also run without a service.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LocalOrRemote {
    #[command(flatten)]
    connection: Connection,
    /// Run in this process, on the data folder itself: for batch machines
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    settings: Settings,
}

/// A client, and the service in this process that it talks to, if any.
pub(super) struct Service {
    pub client: Client,
    app: Option<App>,
}

impl LocalOrRemote {
    pub async fn connect(&self) -> anyhow::Result<Service> {
        if !self.local {
            return Ok(Service { client: self.connection.client()?, app: None });
        }
        let mut config = self.settings.config()?;
        config.listen = "127.0.0.1:0".parse().expect("an address");
        let app = App::start(config).await.context("cannot work on the data folder")?;
        Ok(Service { client: Client::new(&app.url(), None)?, app: Some(app) })
    }
}

impl Service {
    /// Stops what runs in this process; what was acknowledged stays.
    pub async fn close(self) -> anyhow::Result<()> {
        match self.app {
            Some(app) => app.stop().await.context("the local service did not stop cleanly"),
            None => Ok(()),
        }
    }
}
