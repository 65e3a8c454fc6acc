//! From a configuration to running parts, and to their orderly end.
//!
//! Invariant: the webhook listens only while the store is open, and at the end it stops taking before the queue is drained.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use passeur_sdk::{
    Client, ClientError, Room,
    bot::{Bot, Outbox, State},
    clock::{Clock, SystemClock},
    http::HttpSetupError,
};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    config::{Config, HomeserverConfig},
    forward::Forwarder,
    listener::{ListenError, Listener},
    webhook::{Gate, router},
};

/// How long requests under way may take to finish at the end.
const REQUESTS_PATIENCE: Duration = Duration::from_secs(2);

/// How long the bot may take to end.
const BOT_PATIENCE: Duration = Duration::from_secs(10);

/// The pause between two tries to log in for the first time.
const LOGIN_PAUSE: Duration = Duration::from_secs(5);

/// The largest secret that is read from a file, in bytes.
const SECRET_BYTES_MAX: usize = 4096;

/// Why the bot cannot run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file with a secret cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Secret {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// A file with a secret is empty or far too large.
    #[error("{} must hold a secret", .0.display())]
    NoSecret(PathBuf),
    /// The connection cannot be prepared.
    #[error(transparent)]
    Setup(#[from] HttpSetupError),
    /// The webhook cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The client failed.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A running bot.
#[derive(Debug)]
pub struct Running {
    /// Where the webhook listens; with the port that the system chose where the configured one was 0.
    pub address: SocketAddr,
    client: Client,
    forwarder: Forwarder,
    stop: watch::Sender<bool>,
    bot: JoinHandle<Result<(), ClientError>>,
    server: JoinHandle<()>,
}

impl Running {
    /// Waits until the bot ends by itself, which it does only when its session is over.
    ///
    /// # Errors
    ///
    /// [`RunError::Client`] says why.
    pub async fn ended(&mut self) -> Result<(), RunError> {
        match (&mut self.bot).await {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(ClientError::NotLoggedIn.into()),
        }
    }

    /// Stops taking notifications, sends what is queued as far as that is possible within seconds, and ends. What is left is
    /// sent after the next start.
    pub async fn stop(self) {
        self.forwarder.stop();
        self.stop.send_replace(true);
        let _ = tokio::time::timeout(REQUESTS_PATIENCE, self.server).await;
        let _ = tokio::time::timeout(BOT_PATIENCE, self.bot).await;
        if let Err(error) = self.client.close().await {
            tracing::warn!(%error, "the store was not closed in good order");
        }
    }
}

/// Reads a secret from a file; line ends at its end do not count.
///
/// # Errors
///
/// [`RunError::Secret`] or [`RunError::NoSecret`].
pub fn read_secret(path: &Path) -> Result<String, RunError> {
    let text = std::fs::read_to_string(path).map_err(|error| RunError::Secret {
        path: path.to_owned(),
        error,
    })?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || secret.len() > SECRET_BYTES_MAX {
        return Err(RunError::NoSecret(path.to_owned()));
    }
    Ok(secret.to_owned())
}

/// Starts the bot: opens the store, logs in if this is the first start, and listens.
///
/// # Errors
///
/// [`RunError`]; a homeserver that cannot be reached is waited for.
pub async fn start(config: Config) -> Result<Running, RunError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let token = read_secret(&config.webhook.token_file)?;
    let client = connect(&config, clock.clone()).await?;
    let room = client.room(&config.room.id);
    let outbox = Arc::new(Outbox::open(room.clone(), "alert").await?);
    let forwarder = Forwarder::new(room.clone(), outbox.clone(), config.expiry.clone());
    let listener = match &config.webhook.tls {
        Some((certificate, key)) => {
            Listener::tls(config.webhook.listen, certificate, key, clock.clone()).await?
        }
        None => Listener::plain(config.webhook.listen).await?,
    };
    let address = listener.address().map_err(ListenError::Bind)?;
    let (stop, stopped) = watch::channel(false);
    let router = router(
        Gate::new(&token, config.webhook.body_bytes_max),
        forwarder.clone(),
    );
    let serve = axum::serve(listener, router).with_graceful_shutdown(told(stopped.clone()));
    let server = tokio::spawn(async move {
        // It ends only when told; its error type says that nothing can go wrong.
        let _ = serve.await;
    });
    let bot = tokio::spawn(obey(client.clone(), config, room, outbox, stopped, clock));
    tracing::info!("listening for notifications");
    Ok(Running {
        address,
        client,
        forwarder,
        stop,
        bot,
        server,
    })
}

async fn told(mut stopped: watch::Receiver<bool>) {
    // If nobody can tell any more, that is telling too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// A client for the configured homeserver and store; nothing is sent yet.
async fn build(config: &Config, clock: Arc<dyn Clock>) -> Result<Client, RunError> {
    let HomeserverConfig {
        url,
        extra_ca_files,
        socks_proxy,
        device_name,
        ..
    } = &config.homeserver;
    let passphrase = read_secret(&config.store.passphrase_file)?;
    let mut builder = Client::builder()
        .homeserver(url)
        .device_name(device_name)
        .clock(clock);
    for file in extra_ca_files {
        builder = builder.root_certificates_file(file)?;
    }
    if let Some(proxy) = socks_proxy {
        builder = builder.socks_proxy(proxy);
    }
    Ok(builder
        .store(&config.store.path, &passphrase)
        .build()
        .await?)
}

/// Logged in, from the store or, at the first start, by the password.
async fn connect(config: &Config, clock: Arc<dyn Clock>) -> Result<Client, RunError> {
    let client = build(config, clock.clone()).await?;
    if client.restore().await? {
        return Ok(client);
    }
    loop {
        match log_in(&client, config).await {
            Err(RunError::Client(ClientError::Http(error))) if error.is_transient() => {
                tracing::warn!(%error, "logging in will be tried again");
                let pause = error.retry_after().unwrap_or_default().max(LOGIN_PAUSE);
                clock.sleep(pause).await;
            }
            outcome => return outcome.map(|()| client),
        }
    }
}

async fn log_in(client: &Client, config: &Config) -> Result<(), RunError> {
    let password = read_secret(&config.homeserver.password_file)?;
    client
        .login_password(&config.homeserver.user, &password)
        .await?;
    // Clients hide what comes from a device that its owner has not signed, or give it no keys.
    if let Err(error) = client.bootstrap_cross_signing(&password).await {
        tracing::warn!(%error, "this device is not signed by the account's identity: some clients will not trust it");
    }
    Ok(())
}

/// Syncs and obeys commands until told to stop; logs in again where a token has run out.
async fn obey(
    client: Client,
    config: Config,
    room: Room,
    outbox: Arc<Outbox>,
    stopped: watch::Receiver<bool>,
    clock: Arc<dyn Clock>,
) -> Result<(), ClientError> {
    let watcher = tokio::spawn(report_readiness(room.clone()));
    loop {
        let bot = Bot::new(client.clone())
            .rooms(vec![room.id().to_owned()])
            .operators(config.room.operators.clone())
            .members(config.room.members.clone())
            .state(outbox.clone())
            .command(
                "status",
                "says how many alerts are open and how many messages wait",
                status,
            );
        match bot.run(told(stopped.clone())).await {
            Err(ClientError::SoftLoggedOut) => match log_in(&client, &config).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%error, "logging in will be tried again");
                    clock.sleep(LOGIN_PAUSE).await;
                }
            },
            ended => {
                watcher.abort();
                return ended;
            }
        }
    }
}

async fn status(State(outbox): State<Outbox>, client: Client) -> String {
    format!(
        "{} alerts open, {} messages waiting.",
        outbox.open_keys().await,
        client.queue_len()
    )
}

/// Says in the log why nothing is taken, and when that changes.
async fn report_readiness(room: Room) {
    let mut changes = room.client().room_changes();
    let mut last = None;
    loop {
        let now = (room.is_joined(), room.is_encrypted());
        if last != Some(now) {
            match now {
                (false, _) => tracing::warn!("waiting to be invited into the room"),
                (true, false) => {
                    tracing::warn!("the room is not encrypted: nothing is taken until it is")
                }
                (true, true) => tracing::info!("the room is ready"),
            }
            last = Some(now);
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
