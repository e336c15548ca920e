//! Azure Blob Storage, through `object_store`. A row names a container; the account is a setting.
//!
//! Settings come from the environment, as `az`, Microsoft's libraries and `adlfs` read it:
//!
//! - account and endpoint: `AZURE_STORAGE_CONNECTION_STRING`, else `AZURE_STORAGE_ACCOUNT` or
//!   `AZURE_STORAGE_ACCOUNT_NAME`, with `AZURE_STORAGE_ENDPOINT` or `AZURE_STORAGE_SERVICE_ENDPOINT` where it
//!   is not Azure's own. `UseDevelopmentStorage=true` and `AZURE_STORAGE_USE_EMULATOR` mean azurite on
//!   this machine (`AZURITE_BLOB_STORAGE_URL`).
//! - credentials: none with `--anon`; else those of the connection string; else the first of a token, a key
//!   (`AZURE_STORAGE_KEY`, `_ACCOUNT_KEY`), a workload identity (`AZURE_FEDERATED_TOKEN_FILE`), a client's secret
//!   (`AZURE_CLIENT_ID`, `_SECRET`, `AZURE_TENANT_ID`), a signature (`AZURE_STORAGE_SAS_TOKEN`) that is
//!   there; else those of `az login`; else those of the machine, if they come within [`METADATA`]; else none.

mod connection;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::azure::{AzureConfigKey, AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder};
use tokio::sync::OnceCell;

use self::connection::Connection;
use super::Config;
use super::cloud::fault::Hints;
use super::cloud::{self, Buckets, Client, METADATA};
use super::error::Error;
use super::net::{self, Net, Variables, is_yes};

const CLOUD: &str = "Azure";

pub const HINTS: Hints = Hints {
    signed: "they do not allow it; for a public container pass `--anon`",
    expired: "get new credentials and mount again",
    anonymous: "`az login`, or set \
                `AZURE_STORAGE_CONNECTION_STRING`, and do not pass `--anon`",
    elsewhere: "the endpoint sends elsewhere; see `AZURE_STORAGE_ENDPOINT`",
};

/// Credentials that do not come.
const HINT: &str = "see what the `AZURE_*` variables say of them, or pass `--anon`";

/// Azurite's, and its account.
const EMULATOR: &str = "http://127.0.0.1:10000";
const EMULATED: &str = "devstoreaccount1";

/// How long `az` may take to start.
const AZ: Duration = Duration::from_secs(20);

/// Names that `object_store` does not know, and those it does.
const ALIASES: [(&str, AzureConfigKey); 4] = [
    ("AZURE_STORAGE_ACCOUNT", AzureConfigKey::AccountName),
    ("AZURE_STORAGE_KEY", AzureConfigKey::AccessKey),
    ("AZURE_STORAGE_SERVICE_ENDPOINT", AzureConfigKey::Endpoint),
    ("AZURE_STORAGE_BLOB_ENDPOINT", AzureConfigKey::Endpoint),
];

/// Every container of a mount.
pub struct Azure {
    settings: Arc<Settings>,
    containers: Buckets<Container>,
}

/// One container and how to ask it.
pub struct Container {
    name: String,
    settings: Arc<Settings>,
    client: OnceCell<MicrosoftAzure>,
}

/// Where credentials come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credentials {
    None,
    /// The environment says.
    Told,
    /// `az login`.
    Cli,
    /// Of the machine.
    Machine,
}

struct Settings {
    anon: bool,
    net: Net,
    /// Never printed.
    variables: Variables,
    /// Its error is told at first use.
    connection: Result<Option<Connection>, String>,
    /// For messages, and for telling objects of two accounts apart.
    server: String,
    /// Known after the first client is made.
    credentials: OnceCell<Credentials>,
}

impl Azure {
    /// Nothing is asked of a network yet.
    pub fn new(config: &Config, environment: &Variables) -> Self {
        let names = ["AZURE_", "AZURITE_", "HOME", "PATH", "AWS_CA_BUNDLE"];
        let settings = Arc::new(Settings::new(config, net::only(environment, &names)));
        Self { settings, containers: Buckets::new() }
    }

    /// The container called `name`, which holds what a container's name may hold.
    pub fn container(&self, name: &str) -> Arc<Container> {
        let settings = Arc::clone(&self.settings);
        let new = || Container { name: name.to_owned(), settings, client: OnceCell::new() };
        self.containers.get(name.to_owned(), new)
    }
}

impl Container {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How requests of our own are sent, and whether without TLS.
    pub fn wire(&self) -> (&Net, bool) {
        let is_plain = self.endpoint().is_ok_and(|(endpoint, _)| endpoint.starts_with("http://"));
        (&self.settings.net, is_plain)
    }

    /// Where the account's containers are, and the account.
    ///
    /// # Errors
    /// `Setting`: what the environment says makes no sense.
    pub fn endpoint(&self) -> Result<(String, String), Error> {
        let builder = self.settings.told()?;
        let account = builder.get_config_value(&AzureConfigKey::AccountName);
        if is_yes(builder.get_config_value(&AzureConfigKey::UseEmulator).as_deref()) {
            let account = account.unwrap_or_else(|| EMULATED.to_owned());
            let server = self.settings.get("AZURITE_BLOB_STORAGE_URL").unwrap_or(EMULATOR);
            return Ok((format!("{}/{account}", net::endpoint(server)?), account));
        }
        Ok((net::endpoint(&self.settings.server)?, account.unwrap_or_default()))
    }

    /// What requests of our own are signed with; `None` where they are not.
    ///
    /// # Errors
    /// `Denied` where there should be credentials, but they do not come; `place` is for the message.
    pub async fn credential(&self, place: &str) -> Result<Option<Arc<AzureCredential>>, Error> {
        self.ready(place).await?;
        let Some(client) = self.client.get().filter(|_| self.is_signed()) else { return Ok(None) };
        let came = client.credentials().get_credential().await;
        came.map(Some).map_err(|error| cloud::no_credentials(place, &error, HINT))
    }

    /// `true` until known.
    fn is_signed(&self) -> bool {
        self.settings.credentials.get() != Some(&Credentials::None)
    }

    async fn ready(&self, place: &str) -> Result<Client<'_, ()>, Error> {
        let client = self.client.get_or_try_init(|| self.settings.client(&self.name)).await?;
        let is_signed = self.is_signed();
        if is_signed {
            let came = client.credentials().get_credential().await;
            came.map_err(|error| cloud::no_credentials(place, &error, HINT))?;
        }
        let whose = is_signed.then(|| "the Azure credentials".into());
        Ok(Client { store: client, whose, signer: () })
    }
}

impl cloud::Bucket for Container {
    type Signer = ();

    fn client<'a>(&'a self, place: &'a str) -> BoxFuture<'a, Result<Client<'a, ()>, Error>> {
        self.ready(place).boxed()
    }

    fn server(&self) -> &str {
        &self.settings.server
    }

    fn timeout(&self) -> Duration {
        self.settings.net.timeout
    }

    fn hints(&self) -> &'static Hints {
        &HINTS
    }
}

impl Settings {
    fn new(config: &Config, variables: Variables) -> Self {
        let find = |name: &str| net::find(&variables, name);
        let connection = find("AZURE_STORAGE_CONNECTION_STRING").map(Connection::parse).transpose();
        let wrong = |reason| format!("`AZURE_STORAGE_CONNECTION_STRING` is not usable: {reason}");
        let mut settings = Self {
            anon: config.anon,
            net: Net::new(config.timeout, &variables),
            connection: connection.map_err(wrong),
            variables,
            server: String::new(),
            credentials: OnceCell::new(),
        };
        settings.server = settings.find_server();
        settings
    }

    /// The endpoint, or Azure's own of the account.
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

    /// A client for `container`, after deciding once per mount where credentials come from.
    async fn client(&self, container: &str) -> Result<MicrosoftAzure, Error> {
        let credentials = self.credentials.get_or_try_init(|| self.decide(container)).await?;
        build(self.builder(container, *credentials)?)
    }

    async fn decide(&self, container: &str) -> Result<Credentials, Error> {
        if self.anon || is_yes(self.get("AZURE_SKIP_SIGNATURE")) {
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
        tracing::info!("no Azure credentials found; asking Azure without any");
        Ok(Credentials::None)
    }

    /// Whether the environment holds credentials, or says where they are.
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

    /// Whether `az` is there and somebody used it.
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

    /// What the environment says, the connection string last: it wins.
    fn told(&self) -> Result<MicrosoftAzureBuilder, Error> {
        let mut builder = MicrosoftAzureBuilder::new();
        for (name, value) in &self.variables {
            let alias = ALIASES.iter().find(|alias| alias.0 == name).map(|alias| alias.1);
            let key = alias.or_else(|| name.to_ascii_lowercase().parse().ok());
            if let Some(key) = key {
                builder = builder.with_config(key, value);
            }
        }
        let connection = self.connection.as_ref().map_err(|e| Error::Setting(e.clone()))?;
        let Some(connection) = connection else { return Ok(builder) };
        let told = [
            (AzureConfigKey::AccountName, connection.account.as_ref()),
            (AzureConfigKey::AccessKey, connection.key.as_ref()),
            (AzureConfigKey::SasKey, connection.sas.as_ref()),
            (AzureConfigKey::Endpoint, connection.endpoint.as_ref()),
        ];
        for (key, value) in told {
            if let Some(value) = value {
                builder = builder.with_config(key, value);
            }
        }
        Ok(if connection.is_development { builder.with_use_emulator(true) } else { builder })
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
            .with_http_connector(cloud::wire::Connector)
            .with_client_options(self.net.options(http)?)
            .with_retry(self.net.retry()))
    }
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
mod tests {
    use super::*;

    const KEY: (&str, &str) = ("AZURE_STORAGE_KEY", "c2VjcmV0");
    const ACCOUNT: (&str, &str) = ("AZURE_STORAGE_ACCOUNT", "acc");

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn azure(anon: bool, variables: Pairs<'_>) -> Azure {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let config = Config { anon, ..Config::new(Duration::from_secs(1)) };
        Azure::new(&config, &variables.iter().map(own).collect())
    }

    fn made(azure: &Azure) -> Result<Credentials, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let made = runtime.block_on(azure.settings.client("c")).map_err(|error| error.to_string());
        made.map(|_| *azure.settings.credentials.get().unwrap())
    }

    #[test]
    fn the_account_and_its_credentials_are_those_of_the_environment() {
        let own = "https://acc.blob.core.windows.net";
        let string = "AccountName=other;AccountKey=c2VjcmV0;BlobEndpoint=http://h:1/other";
        let string = ("AZURE_STORAGE_CONNECTION_STRING", string);
        let name = ("AZURE_STORAGE_ACCOUNT_NAME", "acc");
        let endpoint = ("AZURE_STORAGE_SERVICE_ENDPOINT", "http://h:2");
        let cases: [(bool, Pairs<'_>, Credentials, &str); 7] = [
            (false, &[ACCOUNT, KEY], Credentials::Told, own),
            (true, &[ACCOUNT, KEY], Credentials::None, own),
            (false, &[name, ("AZURE_STORAGE_SAS_TOKEN", "sig=a")], Credentials::Told, own),
            (false, &[ACCOUNT, KEY, endpoint], Credentials::Told, "http://h:2"),
            (false, &[ACCOUNT, KEY, string], Credentials::Told, "http://h:1/other"),
            (false, &[("AZURE_STORAGE_USE_EMULATOR", "true")], Credentials::Told, "azurite"),
            (false, &[ACCOUNT, ("AZURE_SKIP_SIGNATURE", "1")], Credentials::None, own),
        ];
        for (anon, variables, credentials, server) in cases {
            let azure = azure(anon, variables);
            assert_eq!(made(&azure), Ok(credentials), "{variables:?}");
            assert_eq!(cloud::Bucket::server(&*azure.container("c")), server);
        }
    }

    #[test]
    fn wrong_settings_are_named_and_secrets_are_not() {
        let string = |text| ("AZURE_STORAGE_CONNECTION_STRING", text);
        let cases: [(Pairs<'_>, &str); 4] = [
            (&[KEY], "no Azure account: set `AZURE_STORAGE_ACCOUNT` or"),
            (&[string("AccountKey=secret")], "`AZURE_STORAGE_CONNECTION_STRING` is not usable: "),
            (&[string("BlobEndpoint=https://h/?sig=secret")], "`https://h/` is not an endpoint"),
            (&[ACCOUNT, ("AZURE_STORAGE_KEY", "=secret=")], "the settings for Azure are wrong: "),
        ];
        for (variables, message) in cases {
            let error = made(&azure(false, variables)).unwrap_err();
            assert!(error.starts_with(message) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn az_is_asked_only_where_somebody_logged_in() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        std::fs::create_dir_all(at(".azure")).unwrap();
        let (folder, path) = (home.path().to_str().unwrap(), at("bin"));
        let variables = [("HOME", folder), ("PATH", path.to_str().unwrap())];
        let has_az = || azure(false, &variables).settings.has_az();
        assert!(!has_az());
        std::fs::write(at(".azure/azureProfile.json"), "{}").unwrap();
        assert!(!has_az());
        std::fs::create_dir(at("bin")).unwrap();
        std::fs::write(at("bin/az"), "").unwrap();
        assert!(has_az());
    }
}
