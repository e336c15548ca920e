"""Credentials and settings as the AWS command line finds them, and settings per bucket.

moto stands for S3 and STS. It believes every signature, so a gate before it writes down whose key signed each request,
and turns keys away. `botocore`, which the AWS command line is made of, says how its files are read.
"""

import configparser
import contextlib
import datetime
import errno
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import botocore.configloader
import botocore.exceptions
import pytest

import datachain_runs
import mounts
import servers

OFF = {"AWS_EC2_METADATA_DISABLED": "true"}

ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "ENVKEY", "AWS_SECRET_ACCESS_KEY": "hush-env"}


def body(bucket, n):
    return f"object {n} of {bucket}".encode() * 10


@pytest.fixture(scope="module")
def clouds(s3, tmp_path_factory):
    """Bucket `one` on one server and `two` on another, in one catalog."""
    folder = tmp_path_factory.mktemp("clouds")
    (folder / "other").mkdir()
    with servers.moto(folder / "other") as other:
        for bucket, server in (("one", s3), ("two", other)):
            server.bucket(bucket, versioned=False)
            for n in range(8):
                server.put(bucket, f"in/{n}", body(bucket, n))
                server.client.put_object_acl(Bucket=bucket, Key=f"in/{n}", ACL="public-read")
            datachain_runs.run("buckets", folder, server.url, bucket)
        yield SimpleNamespace(folder=folder, one=s3.url, two=other.url)


class Home(mounts.Dcfs):
    """The binary, with files of `~/.aws` and settings of its own."""

    def __init__(self, folder, config="", credentials="", settings=None, **environment):
        super().__init__(folder, **(OFF | environment))
        (self.home / ".aws").mkdir(exist_ok=True)
        (self.home / ".aws" / "config").write_text(config)
        (self.home / ".aws" / "credentials").write_text(credentials)
        if settings is not None:
            file = self.home / ".config" / "dcfs" / "config.toml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(settings)

    def keeps_secrets(self):
        """No secret is in anything that was written or is shown."""
        texts = [self.log(), self.ok("status", "--json"), self.ok("doctor", "--json")]
        texts += [file.read_text(errors="replace") for file in (self.home / "state").rglob("*") if file.is_file()]
        assert not any("hush" in text for text in texts)
        assert not any(b"hush" in command for command in commands())


def commands():
    """The command lines of all processes but this one."""
    for pid in os.listdir("/proc"):
        if pid.isdigit() and int(pid) != os.getpid():
            # It may have ended meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                yield Path(f"/proc/{pid}/cmdline").read_bytes()


@contextlib.contextmanager
def reading(dcfs, clouds, folder, *options):
    """A mount that prefetches nothing; returns a function that reads object `n` of a bucket."""
    with dcfs.mount(clouds.folder, folder / "mnt", "--prefetch", "off", *options) as mount:

        def read(bucket, n):
            assert (mount.datasets / f"{bucket}@1.0.0" / "in" / str(n)).read_bytes() == body(bucket, n)

        yield read
        dcfs.keeps_secrets()


def until_read(path, wanted):
    """Reads until it succeeds, and no longer than a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            assert path.read_bytes() == wanted
            return
        time.sleep(0.2)
    assert path.read_bytes() == wanted


def profile(name, key, more=""):
    return f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = hush-{key}\n{more}\n"


@pytest.mark.mount
def test_one_mount_spans_accounts_and_clouds(clouds, tmp_path):
    with (
        servers.gate(tmp_path / "g1", clouds.one) as one,
        servers.gate(tmp_path / "g2", clouds.two) as two,
    ):
        config = f"[profile first]\nendpoint_url = {one.url}\nregion = eu-west-1\n[profile second]\nregion = x"
        dcfs = Home(
            tmp_path / "home",
            config,
            profile("first", "FIRSTKEY") + profile("second", "SECONDKEY"),
            f'["s3://one"]\nprofile = "first"\n["s3://two/in/"]\nprofile = "second"\nendpoint_url = "{two.url}"\n',
            **ENVIRONMENT,
        )
        with reading(dcfs, clouds, tmp_path) as read:
            read("one", 0)
            read("two", 0)
        assert (one.ids("/one/"), two.ids("/two/")) == (["FIRSTKEY"], ["SECONDKEY"])
        assert dcfs.worries() == []


WHO = [
    ("", {}, [], "-"),
    ("", ENVIRONMENT, [], "ENVKEY"),
    ("", ENVIRONMENT, ["--anon"], "-"),
    ("", ENVIRONMENT | {"AWS_PROFILE": "a"}, [], "ENVKEY"),
    ("", ENVIRONMENT, ["--profile", "a"], "AKEY"),
    ("", ENVIRONMENT, ["-o", "profile=a"], "AKEY"),
    ("", {"AWS_PROFILE": "a"}, [], "AKEY"),
    ("", {"AWS_PROFILE": "a"}, ["--profile", "b"], "BKEY"),
    ('profile = "a"', ENVIRONMENT, [], "AKEY"),
    ('profile = "a"', ENVIRONMENT, ["--profile", "b"], "BKEY"),
    ('profile = "a"', ENVIRONMENT, ["--anon"], "-"),
    ("anon = true", ENVIRONMENT, [], "-"),
    ("anon = true", ENVIRONMENT, ["--profile", "b"], "BKEY"),
]


@pytest.mark.mount
@pytest.mark.parametrize("table, environment, flags, who", WHO)
def test_whose_keys_sign(clouds, tmp_path, table, environment, flags, who):
    with servers.gate(tmp_path / "gate", clouds.one) as gate:
        settings = f'["s3://one"]\nendpoint_url = "{gate.url}"\n{table}\n'
        keys = profile("a", "AKEY") + profile("b", "BKEY")
        dcfs = Home(tmp_path / "home", "", keys, settings, **environment)
        with reading(dcfs, clouds, tmp_path, *flags) as read:
            read("one", 1)
        assert gate.ids() == [who]


SCRIPT = """
import json, pathlib, sys
home = pathlib.Path(sys.argv[1])
n = len(list(home.glob("run*"))) + 1
(home / f"run{n}").touch()
print(json.dumps({"Version": 1, "AccessKeyId": f"PROCESS{n}", "SecretAccessKey": "hush", "SessionToken": "t",
                  "Expiration": "2099-01-01T00:00:00Z"}))
"""


@contextlib.contextmanager
def by_process(clouds, folder):
    """A mount that ran a `credential_process` for three reads."""
    script, runs = folder / "get keys.py", folder / "runs"
    script.write_text(SCRIPT)
    runs.mkdir()
    with servers.gate(folder / "gate", clouds.one) as gate:
        config = f"[default]\nendpoint_url = {gate.url}\ncredential_process = {sys.executable} '{script}' {runs}\n"
        with reading(Home(folder / "home", config), clouds, folder) as read:
            for n in range(3):
                read("one", n)
            yield SimpleNamespace(gate=gate, read=read, runs=runs)


@contextlib.contextmanager
def by_file(clouds, folder):
    """A mount that read with keys from a file."""
    with servers.gate(folder / "gate", clouds.one) as gate:
        dcfs = Home(folder / "home", f"[default]\nendpoint_url = {gate.url}\n", profile("default", "OLD"))
        with reading(dcfs, clouds, folder) as read:
            read("one", 0)
            yield SimpleNamespace(gate=gate, read=read, dcfs=dcfs)


@contextlib.contextmanager
def by_machine(clouds, folder):
    """A mount that was refused because the metadata service was too slow; it names its role now."""
    ready, port = folder / "ready", servers.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, Path(__file__).parent / "metadata.py", str(port), ready]
    with (
        servers.serving(command, url, folder / "metadata.log"),
        servers.gate(folder / "gate", clouds.one) as gate,
    ):
        gate.refuse("-")
        own = {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": url}
        dcfs = Home(folder / "home", AWS_ENDPOINT_URL_S3=gate.url, **own)
        with dcfs.mount(clouds.folder, folder / "mnt") as mount:
            path = mount.datasets / "one@1.0.0" / "in" / "0"
            with pytest.raises(OSError) as error:
                path.read_bytes()
            assert error.value.errno == errno.EACCES
            ready.touch()
            yield SimpleNamespace(gate=gate, path=path)


@pytest.fixture(scope="module")
def earlier(clouds, tmp_path_factory):
    """Mounts whose credentials are old enough that a refusal makes dcfs search again: one wait for all of them."""
    with contextlib.ExitStack() as stack:
        made = {make.__name__: make for make in (by_machine, by_process, by_file)}
        enter = {name: make(clouds, tmp_path_factory.mktemp(name)) for name, make in made.items()}
        mounts_of = SimpleNamespace(**{name: stack.enter_context(one) for name, one in enter.items()})
        time.sleep(5.5)
        yield mounts_of


@pytest.mark.mount
def test_a_credential_process_is_run_and_run_again_when_its_keys_are_refused(earlier):
    gate, read, runs = (getattr(earlier.by_process, name) for name in ("gate", "read", "runs"))
    assert gate.ids() == ["PROCESS1"], "run once"
    gate.refuse("PROCESS1")
    for n in range(3, 6):
        read("one", n)
    assert gate.ids() == ["PROCESS1", "PROCESS2"]
    assert len(list(runs.iterdir())) == 2


@pytest.mark.mount
def test_keys_that_another_tool_writes_anew_are_taken(earlier):
    one = earlier.by_file
    (one.dcfs.home / ".aws" / "credentials").write_text(profile("default", "NEW"))
    one.gate.refuse("OLD")
    one.read("one", 1)
    assert one.gate.ids() == ["OLD", "NEW"]


@pytest.mark.mount
def test_a_machine_that_is_slow_to_say_its_role_is_heard(clouds, earlier):
    """A mount begins anonymous, and reads once the metadata service answers."""
    until_read(earlier.by_machine.path, body("one", 0))
    assert earlier.by_machine.gate.ids() == ["-", "MACHINE"]


@pytest.mark.mount
def test_a_credential_process_that_fails_is_eacces_and_says_why(clouds, tmp_path):
    config = "[profile p]\ncredential_process = sh -c 'echo hush; echo no card in the reader >&2; exit 7'\n"
    dcfs = Home(tmp_path / "home", config)
    with dcfs.mount(clouds.folder, tmp_path / "mnt", "--profile", "p") as mount:
        with pytest.raises(OSError) as error:
            (mount.datasets / "one@1.0.0" / "in" / "0").read_bytes()
        assert error.value.errno == errno.EACCES
        assert any("no card in the reader" in line for line in dcfs.worries())
        dcfs.keeps_secrets()


@pytest.mark.mount
def test_a_role_is_taken_on(clouds, tmp_path):
    """By keys of another profile, and by a web identity."""
    (tmp_path / "token").write_text("hush-token\n")
    arn = "role_arn = arn:aws:iam::123456789012:role/reader"
    with servers.gate(tmp_path / "gate", clouds.one) as gate:
        config = f"""
[profile role]
{arn}
source_profile = user
services = here
[profile web]
{arn}
web_identity_token_file = {tmp_path / "token"}
services = here
[services here]
s3 =
  endpoint_url = {gate.url}
sts =
  endpoint_url = {gate.url}
"""
        for name, by in (("role", "USERKEY"), ("web", "-")):
            (gate.folder / "asked").unlink(missing_ok=True)
            dcfs = Home(tmp_path / name, config, profile("user", "USERKEY"))
            with reading(dcfs, clouds, tmp_path / name, "--profile", name) as read:
                read("one", 0)
                read("one", 1)
            posts = [line for line in gate.asked() if line[0] == "POST"]
            assert [line[2] for line in posts] == [by], gate.asked()
            (session,) = gate.ids("/one/")
            assert session.startswith("ASIA") or session not in ("USERKEY", "-")


SSO = """
[profile new]
sso_session = my sso
sso_account_id = 123456789012
sso_role_name = reader
services = here
[profile old]
sso_start_url = https://me.awsapps.com/start
sso_region = eu-west-1
sso_account_id = 123456789012
sso_role_name = reader
services = here
[profile role]
role_arn = arn:aws:iam::123456789012:role/reader
source_profile = new
services = here
[profile stranger]
sso_session = my sso
sso_account_id = 123456789012
sso_role_name = writer
services = here
[sso-session my\\ sso]
sso_start_url = https://me.awsapps.com/start
sso_region = eu-west-1
[services here]
s3 =
  endpoint_url = {gate}
sts =
  endpoint_url = {gate}
sso =
  endpoint_url = {portal}
sso_oidc =
  endpoint_url = {portal}/
"""


class SsoHome(Home):
    """A home with profiles that sign in by SSO, and tokens as `aws sso login` leaves them."""

    def __init__(self, folder, gate, portal):
        super().__init__(folder, SSO.format(gate=gate.url, portal=portal.url))
        self.tokens = self.home / ".aws" / "sso" / "cache"
        self.tokens.mkdir(parents=True)

    def file(self, of="my sso"):
        return self.tokens / f"{hashlib.sha1(of.encode()).hexdigest()}.json"

    def signs_in(self, access, ends, of="my sso", **more):
        said = {"startUrl": "https://me.awsapps.com/start", "region": "eu-west-1", "accessToken": access, "expiresAt": ends}
        self.file(of).write_text(json.dumps(said | more))


REFRESH = {
    "clientId": "client",
    "clientSecret": "client-hush",
    "registrationExpiresAt": "2099-01-01T00:00:00Z",
    "refreshToken": "refresh-hush-0",
}


@pytest.fixture
def sso(clouds, tmp_path):
    with servers.gate(tmp_path / "gate", clouds.one) as gate, servers.portal(tmp_path / "portal") as portal:
        yield SimpleNamespace(gate=gate, portal=portal, home=SsoHome(tmp_path / "home", gate, portal))


@pytest.mark.mount
@pytest.mark.parametrize("name, of", [("new", "my sso"), ("old", "https://me.awsapps.com/start"), ("role", "my sso")])
def test_sso_gives_keys_by_the_token_that_is_there(clouds, sso, tmp_path, name, of):
    sso.portal.takes("hush-token")
    sso.home.signs_in("hush-token", "2098-01-01T00:00:00UTC", of)
    with reading(sso.home, clouds, tmp_path, "--profile", name) as read:
        read("one", 0)
        read("one", 1)
    assert sso.portal.asked() == ["GET /federation/credentials"], "asked once"
    (who,) = sso.gate.ids("/one/")
    assert who == "SSOKEY1" or name == "role"
    assert [line[2] for line in sso.gate.asked() if line[0] == "POST"] == ["SSOKEY1"] * (name == "role")
    assert sso.home.worries() == []


BOTO = "import botocore.session as s; print(s.Session(profile='new').get_credentials().get_frozen_credentials().access_key)"


@pytest.mark.mount
def test_a_token_of_sso_that_has_ended_is_exchanged_for_all_who_use_it(clouds, sso, tmp_path):
    """`botocore` can continue with the token that is written back."""
    sso.portal.takes(refresh="refresh-hush-0")
    sso.home.signs_in("old-hush", "2001-01-01T00:00:00Z", more="kept", **REFRESH)
    with reading(sso.home, clouds, tmp_path, "--profile", "new") as read:
        read("one", 0)
    assert sso.portal.asked() == ["POST /token", "GET /federation/credentials"]
    assert sso.gate.ids("/one/") == ["SSOKEY1"]
    said = json.loads(sso.home.file().read_text())
    assert (said["accessToken"], said["refreshToken"], said["more"]) == ("new-hush-1", "refresh-hush-1", "kept")
    assert sso.home.file().stat().st_mode & 0o777 == 0o600
    assert list(sso.home.tokens.iterdir()) == [sso.home.file()], "no draft is left"
    key = subprocess.check_output([sys.executable, "-c", BOTO], env=sso.home.environment, text=True)
    assert (key.strip(), len(sso.portal.asked())) == ("SSOKEY2", 3)
    assert sso.home.worries() == []


@pytest.mark.mount
def test_who_signs_in_by_sso_after_the_mount_is_heard(clouds, sso, tmp_path):
    """Until then reads are EACCES, and the log says what to run."""
    sso.home.signs_in("old-hush", "2001-01-01T00:00:00Z", **REFRESH)
    with sso.home.mount(clouds.folder, tmp_path / "mnt", "--profile", "new") as mount:
        path = mount.datasets / "one@1.0.0" / "in" / "0"
        with pytest.raises(OSError) as error:
            path.read_bytes()
        assert error.value.errno == errno.EACCES
        how = "is not renewed (invalid_grant); run `aws sso login --profile new`"
        assert all(how in line for line in sso.home.worries()), sso.home.worries()
        sso.portal.takes("hush-token")
        sso.home.signs_in("hush-token", "2098-01-01T00:00:00Z")
        until_read(path, body("one", 0))
        sso.home.keeps_secrets()


def test_what_sso_refuses_is_said(clouds, sso):
    sso.home.signs_in("hush-token", "2098-01-01T00:00:00Z", **REFRESH)
    cat = ("cat", "--catalog", clouds.folder, "one/in/0", "--profile")
    cases = [
        ("new", None, "the portal rejects its token; run `aws sso login --profile new`"),
        ("old", None, "it has no token; run `aws sso login --profile old`"),
        ("stranger", "hush-token", "SSO of profile `stranger` gave no credentials: the portal answers 403 (No access)"),
    ]
    for name, good, message in cases:
        sso.portal.takes(good)
        result = sso.home.run(*cat, name)
        assert result.returncode != 0 and message in result.stderr, result.stderr
        assert "hush" not in result.stderr
    doctor = sso.home.run("doctor", "--json", "--catalog", clouds.folder, "--profile", "old").stdout
    assert "run `aws sso login --profile old`" in doctor and "hush" not in doctor


def test_who_pays_is_said(clouds, tmp_path):
    with servers.gate(tmp_path / "gate", clouds.one) as gate:
        table = f'["s3://one"]\nendpoint_url = "{gate.url}"\n'
        for n, (more, flags, payer) in enumerate(
            [("", [], "-"), ("request_payer = true", [], "payer"), ("", ["--request-payer"], "payer")]
        ):
            dcfs = Home(tmp_path / f"home{n}", settings=table + more, **ENVIRONMENT)
            dcfs.ok("cat", "--catalog", clouds.folder, *flags, f"one/in/{n}")
            assert gate.asked()[-1][-1] == payer


def test_a_proxy_of_the_environment_is_used(clouds, tmp_path):
    with servers.gate(tmp_path / "gate", clouds.one) as gate:
        dcfs = Home(tmp_path / "home", HTTP_PROXY=gate.url, **ENVIRONMENT)
        flags = ("--endpoint-url", "http://store.invalid")
        assert dcfs.ok("cat", "--catalog", clouds.folder, *flags, "one/in/0").encode() == body("one", 0)
        assert gate.ids("/one/") == ["ENVKEY"]


def certificate(folder):
    """A certificate for 127.0.0.1 that signs itself, and its key, as files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID
    from ipaddress import ip_address

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return pem, secret


def test_a_ca_bundle_is_believed(clouds, tmp_path):
    pem, secret = certificate(tmp_path)
    with servers.gate(tmp_path / "gate", clouds.one, pem, secret) as gate:
        arguments = ("cat", "--catalog", clouds.folder, "--timeout", "5s", "--endpoint-url", gate.url, "one/in/0")
        result = Home(tmp_path / "h1", **ENVIRONMENT).run(*arguments)
        assert result.returncode != 0 and "certificate" in result.stderr, result.stderr
        bundled = Home(tmp_path / "h2", **ENVIRONMENT, AWS_CA_BUNDLE="cert.pem")
        assert bundled.ok(*arguments, cwd=tmp_path).encode() == body("one", 0)
        # The process behind a mount has another current folder, but finds the file too.
        (tmp_path / "mnt").mkdir()
        bundled.ok("mount", "--catalog", clouds.folder, "--endpoint-url", gate.url, tmp_path / "mnt", cwd=tmp_path)
        assert (tmp_path / "mnt" / "datasets" / "one@1.0.0" / "in" / "1").read_bytes() == body("one", 1)
        bundled.ok("unmount", tmp_path / "mnt")
        config = Home(tmp_path / "h3", f"[default]\nca_bundle = {pem}", **ENVIRONMENT)
        assert config.ok(*arguments).encode() == body("one", 0)
        wrong = Home(tmp_path / "h4", **ENVIRONMENT, AWS_CA_BUNDLE=str(secret)).run(*arguments)
        assert "CA bundle" in wrong.stderr and wrong.returncode == 2, wrong.stderr


WRONG = [
    ("", ["--profile", "reserch"], {}, "there is no profile `reserch` in .*did you mean `research`?"),
    ("", [], {"AWS_PROFILE": "nope"}, "there is no profile `nope` in "),
    ("", ["--profile", "sso"], {}, "profile `sso`: SSO needs `sso_start_url`"),
    ("", ["--profile", "login"], {}, "signs in by `aws login`.*aws configure export-credentials --profile login"),
    ('["s3://b"]\nprofile = "nope"', [], {}, "settings of `s3://b`: there is no profile `nope` in "),
    ('["s3://b"]\n\nregoin = "x"', [], {}, r"config.toml`, line 3: there is no setting `regoin`; did you mean `region`\?"),
    ('["s3://b"]\nanon = "yes"', [], {}, "config.toml`, line 2: `anon` is `true` or `false`"),
    ('["s3://b"', [], {}, "config.toml`, line 1: "),
    ("", ["--config", "nowhere.toml"], {}, "settings in `/.*nowhere.toml`: No such file"),
    ("", [], {"DCFS_CONFIG": "nowhere.toml"}, "settings in `/.*nowhere.toml`: No such file"),
    ("", ["--anon", "--profile", "research"], {}, "cannot be used with"),
    ("", ["--anon", "-o", "profile=research"], {}, "exclude each other"),
    ("", [], {"AWS_SECRET_ACCESS_KEY": "hush"}, "`AWS_ACCESS_KEY_ID` is not"),
    ("", [], {"AWS_CONFIG_FILE": "broken"}, "`broken`, line 2: it is neither"),
]


@pytest.mark.mount
@pytest.mark.parametrize("settings, flags, environment, message", WRONG)
def test_what_is_wrong_is_told_at_mount(small_catalog, tmp_path, settings, flags, environment, message):
    config = "[profile sso]\nsso_account_id = 1\nsso_role_name = r\n[profile login]\nlogin_session = me\n"
    dcfs = Home(tmp_path / "home", config, profile("research", "KEY"), settings, **environment)
    (tmp_path / "mnt").mkdir()
    (tmp_path / "broken").write_text("[default]\nhush\n")
    result = dcfs.run("mount", "--catalog", small_catalog, *flags, tmp_path / "mnt", cwd=tmp_path)
    assert result.returncode == 2 and not mounts.mounted(tmp_path / "mnt")
    assert re.search(message, result.stderr.replace(f"{tmp_path}/broken", "broken")), result.stderr
    assert "hush" not in result.stderr and "panicked" not in result.stderr


@pytest.mark.mount
def test_a_default_that_signs_in_by_a_browser_leaves_local_files_alone(small_catalog, tmp_path):
    dcfs = Home(tmp_path / "home", "[default]\nlogin_session = me\n")
    with dcfs.mount(small_catalog, tmp_path / "mnt") as mount:
        assert (mount.datasets / "few" / "a" / "0.txt").read_bytes() == b"a0\n" * 10
    assert any("signs in by `aws login`" in line for line in dcfs.worries())


def test_doctor_says_what_counts(clouds, tmp_path):
    config = "[profile research]\nregion = eu-central-1\n"
    settings = '["s3://one"]\nprofile = "research"\n["s3://two/in"]\nendpoint_url = "http://minio:9000"\nanon = true\n'
    dcfs = Home(tmp_path / "home", config, profile("research", "RKEY"), settings, **ENVIRONMENT)
    result = dcfs.run("doctor", "--json", "--catalog", clouds.folder)
    said = {}
    for check in json.loads(result.stdout):
        said.setdefault(check["what"], []).append(check["detail"])
    assert "config.toml with `s3://one`, `s3://two/in`" in said["settings"][0]
    text = "\n".join(said["source"])
    assert 'settings: ["s3://one"]; endpoint: AWS; region: eu-central-1; signed with: the keys of profile `research`' in text
    assert 'settings: ["s3://two/in"]; endpoint: http://minio:9000; region: us-east-1; signed with: anonymous' in text
    assert "`s3://two" in text and "no table; endpoint: AWS; region: us-east-1; signed with: the keys of the environment" in text
    assert "hush" not in result.stdout + result.stderr and "RKEY" not in result.stdout


LINES = [
    "[default]", "[profile a]", "[ default]", "[profile  'a']", "[services s]", "[]", "[x] # c", "region = r{}", "region=r{}",
    "  region : r{}", "Region = R{} # no", "region =", "  r{} = s", "\tr{}=s", "k = v:w", "k : v = w", "s3 =", "  k{} = v",
    "    deep{}", "# c", "  ; c", "", "   ", "nothing", "= v", "k{}", "'q = v", "region = r{}\r", "\ufeffk=v", "k\u00e9{} = \u00e9",
]  # fmt: skip


def of_botocore(file):
    """The region of the default profile, `None`, "error", or "duplicate", which dcfs joins as AWS's other tools do."""
    try:
        found = botocore.configloader.load_config(str(file))["profiles"].get("default", {}).get("region")
        return found or None
    except botocore.exceptions.ConfigParseError as error:
        cause = error.__context__ or error.kwargs.get("error")
        if isinstance(cause, (configparser.DuplicateSectionError, configparser.DuplicateOptionError)):
            return "duplicate"
        return "error"


@pytest.mark.parametrize("seed", range(60))
def test_files_are_read_as_botocore_reads_them(tmp_path, seed):
    dcfs = Home(tmp_path / "home", settings='["s3://b"]\nanon = true')
    file = dcfs.home / ".aws" / "config"
    random.seed(seed)
    wanted = "duplicate"
    while wanted == "duplicate":
        lines = ["[default]"] * (seed % 4 != 0)
        lines += [random.choice(LINES).replace("{}", str(n)) for n in range(random.randrange(1, 6))]
        file.write_bytes("\n".join(lines).encode())
        wanted = of_botocore(file)
    checks = json.loads(dcfs.run("doctor", "--json", cwd=tmp_path).stdout)
    said = " ".join(check["detail"] for check in checks if check["what"] in ("stores", "source"))
    if wanted == "error":
        assert re.search(r"config`, line \d+: ", said), (lines, said)
    elif wanted is None:
        assert "region: us-east-1" in said, (lines, said)
    elif re.fullmatch(r"[\w-]+", wanted):
        assert f"region: {wanted};" in said, (lines, said)
    else:
        assert "is not a region" in said, (lines, said)
