//! Azure Blob Storage, through `object_store`. A row names a container; the account is a setting.
//!
//! Settings come from the environment, as `az`, Microsoft's libraries and `adlfs` read it:
//!
//! - account and endpoint: `AZURE_STORAGE_CONNECTION_STRING`, else `AZURE_STORAGE_ACCOUNT` or
//!   `AZURE_STORAGE_ACCOUNT_NAME`, with `AZURE_STORAGE_ENDPOINT` or `AZURE_STORAGE_SERVICE_ENDPOINT` if it is
//!   not Azure's own. `UseDevelopmentStorage=true` and `AZURE_STORAGE_USE_EMULATOR` mean azurite on this
//!   machine (`AZURITE_BLOB_STORAGE_URL`).
//! - credentials: none with `--anon`; else those of the connection string; else the first that is set of a
//!   token, a key (`AZURE_STORAGE_KEY`, `_ACCOUNT_KEY`), a workload identity (`AZURE_FEDERATED_TOKEN_FILE`), a
//!   client secret (`AZURE_CLIENT_ID`, `_SECRET`, `AZURE_TENANT_ID`), a signature (`AZURE_STORAGE_SAS_TOKEN`);
//!   else those of `az login`; else those of the machine, if they arrive within [`METADATA`]; else none.
//!
//! A table of `config.toml` names an account, an endpoint, a connection string or none, and wins over the
//! environment. If it names another account, the environment's account settings are ignored: its connection
//! string, key, signature and endpoint. Credentials of the environment are never sent to an endpoint that a
//! table names.

mod connection;
mod list;
pub mod settings;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::azure::{AzureConfigKey, AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder};
use tokio::sync::OnceCell;

use self::connection::Connection;
use super::bucket::{self, Naming, is_container};
use super::ways::{self, Ways};
use super::{Backend, Folder, StoreKind};
use crate::Config;
use crate::cloud::fault::Hints;
use crate::cloud::{self, Buckets, Client, METADATA};
use crate::error::{Error, show};
use crate::list::page::Pages;
use crate::net::{self, Net, Variables, is_yes};
use crate::pin::Rules;
use crate::remote::Requests;
use crate::settings::{Secret, Tables, address};
use crate::shared;
use dcfs_core::object::Object;
use dcfs_core::shared::Objects;

const CLOUD: &str = "Azure";

const NAMING: Naming = Naming {
    scheme: "az",
    is_bucket: is_container,
    no_bucket: "its source names no container; write `az://container`",
};

/// `az://container/key`, in the account that the settings or the environment name.
pub static KIND: StoreKind = StoreKind {
    schemes: &[NAMING.scheme],
    rules: Rules::Bucket,
    url: |object| NAMING.url(object),
    is_bucket: Some(NAMING.is_bucket),
    tables: Tables {
        wrong_name: wrong_container,
        address: str::to_owned,
        read: |at, table| Ok(Arc::new(settings::Az::read(at, table)?)),
    },
    open: |setup| Box::new(Azure::new(setup.config, setup.environment)),
};

pub const HINTS: Hints = Hints {
    signed: "they do not allow it; for a public container pass `--anon`",
    expired: "get new credentials and mount again",
    anonymous: "`az login`, or set \
                `AZURE_STORAGE_CONNECTION_STRING`, and do not pass `--anon`",
    elsewhere: "the endpoint redirects to another server; see `AZURE_STORAGE_ENDPOINT`",
    unknown: "check the network, at the account's name, and at `AZURE_STORAGE_ENDPOINT`",
};

/// Hint when credentials are not available.
const HINT: &str = "see what the `AZURE_*` variables say of them, or pass `--anon`";

/// The endpoint of azurite, and its account.
const EMULATOR: &str = "http://127.0.0.1:10000";
const EMULATED: &str = "devstoreaccount1";

/// Time limit for `az` to start.
const AZ: Duration = Duration::from_secs(20);

/// Variables that `object_store` does not know, and its own names for them.
const ALIASES: [(&str, AzureConfigKey); 4] = [
    ("AZURE_STORAGE_ACCOUNT", AzureConfigKey::AccountName),
    ("AZURE_STORAGE_KEY", AzureConfigKey::AccessKey),
    ("AZURE_STORAGE_SERVICE_ENDPOINT", AzureConfigKey::Endpoint),
    ("AZURE_STORAGE_BLOB_ENDPOINT", AzureConfigKey::Endpoint),
];

/// All containers of a mount.
pub struct Azure {
    ways: Ways<Way>,
    containers: Buckets<Container, (Option<String>, String)>,
}

/// One container and how to reach it.
pub struct Container {
    name: String,
    way: Arc<Way>,
    client: OnceCell<MicrosoftAzure>,
}

/// The origin of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credentials {
    None,
    /// The environment names them.
    Told,
    /// `az login`.
    Cli,
    /// The machine's metadata service.
    Machine,
}

/// The settings of one table of `config.toml`, or the default ones.
struct Way {
    anon: bool,
    net: Net,
    /// Never printed.
    variables: Variables,
    /// An error is reported at first use.
    connection: Result<Option<Connection>, String>,
    table: settings::Az,
    /// For messages, and to tell objects of two accounts apart.
    server: String,
    /// Known once the first client has been made.
    credentials: OnceCell<Credentials>,
}

impl Azure {
    /// Sends no request yet.
    pub fn new(config: &Config, environment: &Variables) -> Self {
        let names = ["AZURE_", "AZURITE_", "HOME", "PATH", "AWS_CA_BUNDLE"];
        let variables = net::only(environment, &names);
        let way = |table: Option<&settings::Az>| {
            let way = Way::new(config, variables.clone());
            match table {
                Some(table) => way.told_by(table, environment).known(),
                None => way.known(),
            }
        };
        Self { ways: Ways::new(&config.settings, way), containers: Buckets::new() }
    }

    /// The container called `name`, with the settings that apply to `key`. `name` must already be a valid
    /// container name.
    pub fn container(&self, name: &str, key: &[u8]) -> Arc<Container> {
        let (table, way) = self.ways.of(&address(NAMING.scheme, name, key));
        let way = Arc::clone(way);
        let new = || Container { name: name.to_owned(), way, client: OnceCell::new() };
        self.containers.get((table.map(|table| table.text().to_owned()), name.to_owned()), new)
    }
}

impl Backend for Azure {
    fn check(&self) -> Result<(), Error> {
        self.ways.check(|way| way.builder("container", Credentials::None).map(drop))
    }

    fn describe(&self, source: &str) -> Result<Vec<(&'static str, String)>, Error> {
        let say = |way: &Way| [("endpoint", way.server.clone()), ("signed with", way.whose())];
        Ok(self.ways.describe(source.as_bytes(), say))
    }

    fn object(&self, object: &Object, place: String) -> Result<Arc<dyn Requests>, Error> {
        let key = NAMING.key(object)?;
        bucket::object(self.container(&key.bucket, &key.key), &key, place)
    }

    fn shared(
        &self,
        object: &Object,
        place: &str,
        timeout: Duration,
    ) -> Result<Option<Arc<dyn Objects>>, Error> {
        let key = NAMING.key(object)?;
        shared::in_bucket(self.container(&key.bucket, &key.key), &key.key, place, timeout).map(Some)
    }

    fn pages(&self, folder: Folder<'_>) -> Result<Arc<dyn Pages>, Error> {
        let Folder { bucket, prefix, place, how } = folder;
        let bucket = self.container(bucket, prefix.as_bytes());
        Ok(Arc::new(list::Lister::new(bucket, place, how)?))
    }
}

/// Why a table of settings has no valid container name, if it has none.
fn wrong_container(_scheme: &str, container: &str, _prefix: &str) -> Option<String> {
    let text = "is not a valid container name; write `az://container/prefix`";
    (!is_container(container)).then(|| format!("`{}` {text}", show(container)))
}

impl Container {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The HTTP settings of our own requests, and whether plain HTTP is allowed.
    pub fn wire(&self) -> (&Net, bool) {
        let is_plain = self.endpoint().is_ok_and(|(endpoint, _)| endpoint.starts_with("http://"));
        (&self.way.net, is_plain)
    }

    /// The endpoint of the account, and the account.
    ///
    /// # Errors
    /// `Setting` if the environment is invalid.
    pub fn endpoint(&self) -> Result<(String, String), Error> {
        let builder = self.way.told()?;
        let account = builder.get_config_value(&AzureConfigKey::AccountName);
        if is_yes(builder.get_config_value(&AzureConfigKey::UseEmulator).as_deref()) {
            let account = account.unwrap_or_else(|| EMULATED.to_owned());
            let server = self.way.get("AZURITE_BLOB_STORAGE_URL").unwrap_or(EMULATOR);
            return Ok((format!("{}/{account}", net::endpoint(server)?), account));
        }
        Ok((net::endpoint(&self.way.server)?, account.unwrap_or_default()))
    }

    /// The credential that our own requests are signed with; `None` if they are not signed.
    ///
    /// # Errors
    /// `Denied` if credentials are configured but not available; `place` is for the message.
    pub async fn credential(&self, place: &str) -> Result<Option<Arc<AzureCredential>>, Error> {
        self.ready(place).await?;
        let Some(client) = self.client.get().filter(|_| self.is_signed()) else { return Ok(None) };
        let came = client.credentials().get_credential().await;
        came.map(Some).map_err(|error| cloud::no_credentials(place, &error, HINT))
    }

    /// `true` until known.
    fn is_signed(&self) -> bool {
        self.way.credentials.get() != Some(&Credentials::None)
    }

    async fn ready(&self, place: &str) -> Result<Client<'_, ()>, Error> {
        let client = self.client.get_or_try_init(|| self.way.client(&self.name)).await?;
        let signed = self.is_signed().then(|| ("the Azure credentials", &**client.credentials()));
        cloud::ready(client, signed, self.way.net.timeout, place, HINT).await
    }
}

impl cloud::Bucket for Container {
    type Signer = ();

    fn client<'a>(&'a self, place: &'a str) -> BoxFuture<'a, Result<Client<'a, ()>, Error>> {
        self.ready(place).boxed()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn server(&self) -> &str {
        &self.way.server
    }

    fn timeout(&self) -> Duration {
        self.way.net.timeout
    }

    fn hints(&self) -> &'static Hints {
        &HINTS
    }
}

impl Way {
    /// The settings of the environment.
    fn new(config: &Config, variables: Variables) -> Self {
        let find = |name: &str| net::find(&variables, name);
        let connection = find("AZURE_STORAGE_CONNECTION_STRING").map(Connection::parse).transpose();
        let wrong = |reason| format!("`AZURE_STORAGE_CONNECTION_STRING` is not usable: {reason}");
        Self {
            anon: config.anon,
            net: Net::new(config.timeout, &variables),
            connection: connection.map_err(wrong),
            table: settings::Az::default(),
            variables,
            server: String::new(),
            credentials: OnceCell::new(),
        }
    }

    /// Overrides them with those of a table.
    fn told_by(mut self, table: &settings::Az, environment: &Variables) -> Self {
        let connection =
            table.connection_string.as_ref().map(|named| connection(named, environment));
        if connection.is_some() || table.account.as_ref().is_some_and(|name| self.is_other(name)) {
            self.variables.retain(|(name, _)| !key(name).is_some_and(|key| is_of_account(&key)));
            self.connection = connection.transpose();
        }
        // Another server is reached by the table's settings alone; the environment's credentials belong to its
        // own account.
        self.anon |=
            table.anon || table.endpoint_url.is_some() && table.connection_string.is_none();
        self.table = table.clone();
        self
    }

    /// Fills in the server.
    fn known(self) -> Self {
        Self { server: self.find_server(), ..self }
    }

    /// Whether the environment is about an account other than `name`.
    fn is_other(&self, name: &str) -> bool {
        let known = self.told().map(|told| told.get_config_value(&AzureConfigKey::AccountName));
        known.is_ok_and(|known| known.is_some_and(|known| known != name))
    }

    /// A description of the identity that signs requests; sends no request.
    fn whose(&self) -> String {
        match self.has_credentials() {
            _ if self.is_anonymous() => "anonymous".into(),
            Err(error) => error.to_string(),
            Ok(true) if self.table.connection_string.is_some() => {
                "the connection string that the table names".into()
            }
            Ok(true) => "the credentials that the environment names".into(),
            Ok(false) if self.has_az() => "those of `az login`".into(),
            Ok(false) => "the credentials of this machine, if it has some".into(),
        }
    }

    fn is_anonymous(&self) -> bool {
        let may_skip = self.table.connection_string.is_none();
        self.anon || may_skip && is_yes(self.get("AZURE_SKIP_SIGNATURE"))
    }

    /// The configured endpoint, or Azure's own for the account.
    fn find_server(&self) -> String {
        let Ok(builder) = self.told() else { return CLOUD.to_owned() };
        let get = |key| builder.get_config_value(&key);
        if is_yes(get(AzureConfigKey::UseEmulator).as_deref()) {
            return self.get("AZURITE_BLOB_STORAGE_URL").unwrap_or("azurite").to_owned();
        }
        let account = get(AzureConfigKey::AccountName).unwrap_or_default();
        get(AzureConfigKey::Endpoint)
            .unwrap_or_else(|| format!("https://{account}.blob.core.windows.net"))
    }

    /// A client for `container`. The first call of a mount decides where credentials come from.
    async fn client(&self, container: &str) -> Result<MicrosoftAzure, Error> {
        let credentials = self.credentials.get_or_try_init(|| self.decide(container)).await?;
        build(self.builder(container, *credentials)?)
    }

    async fn decide(&self, container: &str) -> Result<Credentials, Error> {
        if self.is_anonymous() {
            return Ok(Credentials::None);
        }
        if self.has_credentials()? {
            return Ok(Credentials::Told);
        }
        let mut others = vec![(Credentials::Machine, METADATA)];
        if self.has_az() {
            others.insert(0, (Credentials::Cli, AZ));
        }
        for (credentials, limit) in others {
            let store = build(self.builder(container, credentials)?)?;
            let asked = tokio::time::timeout(limit, store.credentials().get_credential());
            if matches!(asked.await, Ok(Ok(_))) {
                return Ok(credentials);
            }
        }
        tracing::info!("no Azure credentials found; requests to Azure are not signed");
        Ok(Credentials::None)
    }

    /// Whether the environment contains credentials, or names where they are.
    fn has_credentials(&self) -> Result<bool, Error> {
        let builder = self.told()?;
        let is = |key| builder.get_config_value(&key).is_some_and(|value| !value.is_empty());
        Ok(is_yes(builder.get_config_value(&AzureConfigKey::UseEmulator).as_deref())
            || is(AzureConfigKey::AccessKey)
            || is(AzureConfigKey::SasKey)
            || is(AzureConfigKey::Token)
            || is(AzureConfigKey::FederatedTokenFile)
            || is(AzureConfigKey::ClientSecret)
            || is_yes(builder.get_config_value(&AzureConfigKey::UseAzureCli).as_deref()))
    }

    /// Whether `az` is installed and has been used.
    fn has_az(&self) -> bool {
        let path = self.get("PATH").unwrap_or_default();
        let home = self.get("HOME").map(|home| PathBuf::from(home).join(".azure"));
        let folder = self.get("AZURE_CONFIG_DIR").map(PathBuf::from).or(home);
        folder.is_some_and(|folder| folder.join("azureProfile.json").exists())
            && std::env::split_paths(path).any(|folder| folder.join("az").is_file())
    }

    fn get(&self, name: &str) -> Option<&str> {
        net::find(&self.variables, name)
    }

    /// A builder from the environment, overridden by its connection string, overridden by the table.
    fn told(&self) -> Result<MicrosoftAzureBuilder, Error> {
        let mut builder = MicrosoftAzureBuilder::new();
        for (name, value) in &self.variables {
            if let Some(key) = key(name) {
                builder = builder.with_config(key, value);
            }
        }
        let connection = self.connection.as_ref().map_err(|e| Error::Setting(e.clone()))?;
        if let Some(connection) = connection {
            let told = [
                (AzureConfigKey::AccountName, connection.account.as_ref()),
                (AzureConfigKey::AccessKey, connection.key.as_ref()),
                (AzureConfigKey::SasKey, connection.sas.as_ref()),
                (AzureConfigKey::Endpoint, connection.endpoint.as_ref()),
            ];
            builder = with(builder, told);
            if connection.is_development {
                builder = builder.with_use_emulator(true);
            }
        }
        let (account, endpoint) = (self.table.account.as_ref(), self.table.endpoint_url.as_ref());
        if endpoint.is_some() {
            builder = builder.with_use_emulator(false);
        }
        let told = [(AzureConfigKey::AccountName, account), (AzureConfigKey::Endpoint, endpoint)];
        Ok(with(builder, told))
    }

    fn builder(
        &self,
        container: &str,
        credentials: Credentials,
    ) -> Result<MicrosoftAzureBuilder, Error> {
        let mut builder = self.told()?;
        let mut http = false;
        if let Some(given) = builder.get_config_value(&AzureConfigKey::Endpoint) {
            let endpoint = net::endpoint(&given)?;
            http = endpoint.starts_with("http://");
            builder = builder.with_endpoint(endpoint);
        }
        Ok(builder
            .with_container_name(container)
            .with_use_azure_cli(credentials == Credentials::Cli)
            .with_skip_signature(credentials == Credentials::None)
            .with_http_connector(cloud::wire::Connector::new(&self.net))
            .with_client_options(self.net.options(http)?)
            .with_retry(net::once()))
    }
}

/// The setting of `object_store` that a variable sets.
fn key(name: &str) -> Option<AzureConfigKey> {
    let alias = ALIASES.iter().find(|alias| alias.0 == name).map(|alias| alias.1);
    alias.or_else(|| name.to_ascii_lowercase().parse().ok())
}

/// Whether a setting belongs to one account, and means nothing to others.
fn is_of_account(key: &AzureConfigKey) -> bool {
    use AzureConfigKey::{AccessKey, AccountName, Endpoint, SasKey, UseEmulator};
    matches!(key, AccountName | AccessKey | SasKey | Endpoint | UseEmulator)
}

/// Parses the connection string that a table names.
fn connection(named: &Secret, environment: &Variables) -> Result<Connection, String> {
    let text = ways::secret(named, environment)?;
    Connection::parse(&text)
        .map_err(|reason| format!("the connection string is not usable: {reason}"))
}

fn with<const N: usize>(
    builder: MicrosoftAzureBuilder,
    told: [(AzureConfigKey, Option<&String>); N],
) -> MicrosoftAzureBuilder {
    let said = told.into_iter().filter_map(|(key, value)| Some((key, value?)));
    said.fold(builder, |builder, (key, value)| builder.with_config(key, value))
}

fn build(builder: MicrosoftAzureBuilder) -> Result<MicrosoftAzure, Error> {
    builder.build().map_err(|error| match error.to_string() {
        text if text.contains("Account must be specified") => Error::Setting(
            "no Azure account: set `AZURE_STORAGE_ACCOUNT` or `AZURE_STORAGE_CONNECTION_STRING`"
                .into(),
        ),
        _ => cloud::setting(CLOUD, &error),
    })
}

#[cfg(test)]
mod tests;
