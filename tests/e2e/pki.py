# SPDX-License-Identifier: LGPL-2.1-or-later
"""pki.py - throw-away certificates for --tls-dir, good ones and others, made by openssl(1)."""
import datetime
import pathlib
import shutil
import subprocess

SOURCE_NAME = "source.pageferry.test"
DESTINATION_NAME = "destination.pageferry.test"
SANS = {"server": f"DNS:{DESTINATION_NAME},IP:127.0.0.1", "client": f"DNS:{SOURCE_NAME}"}
USAGES = {"server": "serverAuth", "client": "clientAuth"}
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
DAY = datetime.timedelta(days=1)
YEAR = 365 * DAY

CA_CONFIG = """
[ca]
default_ca = test
[test]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
"""


def openssl(folder, *arguments):
    subprocess.run(
        ["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60
    )


def asn1_time(when):
    return when.strftime("%Y%m%d%H%M%SZ")


class Pki:
    """A CA; `folder` is a --tls-dir for both sides."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        openssl(
            self.folder, "req", "-x509", *NEW_KEY, "-days", "2", "-subj", "/CN=pageferry test CA",
            "-keyout", "ca-key.pem", "-out", "ca-cert.pem",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )
        (self.folder / "ca.conf").write_text(CA_CONFIG)
        (self.folder / "index.txt").write_text("")
        (self.folder / "serial").write_text("1000\n")
        for role in SANS:
            self.issue(role)

    def copy(self, folder):
        """The same authority with files of its own, to be spoilt."""
        other = Pki.__new__(Pki)
        other.folder = pathlib.Path(folder)
        shutil.copytree(self.folder, other.folder)
        return other

    def ca(self, *arguments):
        openssl(
            self.folder, "ca", "-config", "ca.conf", "-batch", "-cert", "ca-cert.pem",
            "-keyfile", "ca-key.pem", *arguments,
        )

    def issue(self, role, san=None, usage=None, start=-DAY, end=DAY):
        """role-cert.pem and role-key.pem; san None: the role's own, "": none.  Valid from now + start
        to now + end."""
        now = datetime.datetime.now(datetime.timezone.utc)
        san = SANS[role] if san is None else san
        (self.folder / "extensions").write_text(
            "basicConstraints = critical,CA:FALSE\n"
            f"extendedKeyUsage = {usage or USAGES[role]}\n"
            + (f"subjectAltName = {san}\n" if san else "")
        )
        openssl(
            self.folder, "req", "-new", *NEW_KEY, "-subj", f"/CN={role}",
            "-keyout", f"{role}-key.pem", "-out", f"{role}-request.pem",
        )
        self.ca(
            "-in", f"{role}-request.pem", "-out", f"{role}-cert.pem", "-notext",
            "-extfile", "extensions",
            "-startdate", asn1_time(now + start), "-enddate", asn1_time(now + end),
        )
        (self.folder / f"{role}-key.pem").chmod(0o600)

    def expire(self, role):
        self.issue(role, start=-2 * YEAR, end=-YEAR)

    def postpone(self, role):
        self.issue(role, start=YEAR, end=2 * YEAR)

    def revoke(self, *roles, lasts_hours=24):
        """ca-crl.pem, with these certificates in it."""
        for role in roles:
            self.ca("-revoke", f"{role}-cert.pem")
        self.ca("-gencrl", "-crlhours", str(lasts_hours), "-out", "ca-crl.pem")

    def take(self, other, *names):
        """Files of another authority in place of its own."""
        for name in names:
            shutil.copy2(other.folder / name, self.folder / name)
