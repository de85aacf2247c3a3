# SPDX-License-Identifier: LGPL-2.1-or-later
"""test_refusals.py - what an agent refuses before it has begun: words on stderr, and its exit code.

Each row spoils one thing of a start that would succeed; each message says what was found and, on a
line of its own, what to do.
"""
import dataclasses
import os
import pathlib
import shutil
import socket
import subprocess

import pytest

from harness import program
from pki import Pki, openssl

USAGE, CONFIG = 64, 78
ROOT_MAY_MOUNT = "needs root, who may mount a small tmpfs"


def run(*arguments):
    return subprocess.run(
        [program("PAGEFERRY"), *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False,
    )


class Scene:
    """Everything that an agent of this side needs; `options` may be changed before it starts."""

    def __init__(self, side, folder, pki):
        self.side = side
        self.own = "client" if side == "source" else "server"
        self.folder = pathlib.Path(folder)
        self.pki = pki.copy(self.folder / "tls")
        self.tls = self.pki.folder
        self.options = {
            "vmm-socket": self.folder / "vmm", "control": self.folder / "ctl",
            "tls-dir": self.tls, "state-dir": self.folder / "state", "id": "vm7",
        }
        self.state = self.options["state-dir"]
        if side == "source":
            self.options |= {"connect": "127.0.0.1:1", "connect-timeout": "1"}
        else:
            self.options |= {"listen": "127.0.0.1:0", "peer-name": "source.pageferry.test"}
        self.clean = []  # to be called in the end

    def key(self):
        return self.tls / f"{self.own}-key.pem"

    def cert(self):
        return self.tls / f"{self.own}-cert.pem"

    def argv(self):
        words = [self.side]
        for name, value in self.options.items():
            words += [f"--{name}", value]
        return words

    def end(self):
        for step in reversed(self.clean):
            step()


@pytest.fixture
def scene_of(folder, pki):
    made = []

    def make(side):
        made.append(Scene(side, folder, pki))
        return made[-1]

    yield make
    for scene in made:
        scene.end()


def check_refused(result, code, words, hint):
    message = result.stderr.splitlines()
    assert result.returncode == code, result
    assert result.stdout == ""
    assert message[0].startswith("pageferry "), message
    assert words in message[0], message
    if hint is not None:
        assert len(message) == 2 and hint in message[1], message


# ---- the command line


@pytest.mark.smoke
@pytest.mark.parametrize(
    "change, words",
    [
        ({"no-such-option": "1"}, "unknown option --no-such-option"),
        ({"connect": "127.0.0.1"}, "--connect"),
        ({"connect": "127.0.0.1:99999"}, "--connect"),
        ({"connect": "127.0.0.1:0"}, "nobody can connect to port 0"),
        ({"listen": "127.0.0.1:0"}, "--listen is an option of the destination"),
        ({"channels": "0"}, "--channels"),
        ({"channels": "many"}, "--channels"),
        ({"max-device-state": "1T"}, "--max-device-state"),
        ({"vmm": "nonsense"}, "'nonsense' is no dialect; this build has: native"),
        ({"vmm": "qemu"}, "this build has no qemu dialect"),
        ({"id": "../vm7"}, "--id"),
        ({"id": ""}, "--id"),
        ({"control": "/" + "c" * 200}, "--control: a socket path has at most 107 bytes"),
        ({"events": "fd:x"}, "--events"),
    ],
)
def test_bad_command_lines_are_usage_errors(scene_of, change, words):
    scene = scene_of("source")
    scene.options |= change
    check_refused(run(*scene.argv()), USAGE, words, None)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_missing_options_are_named(scene_of, side):
    scene = scene_of(side)
    for name in list(scene.options):
        value = scene.options.pop(name)
        if name != "connect-timeout":
            check_refused(run(*scene.argv()), USAGE, f"missing: --{name}", f"{side} --help")
        scene.options[name] = value


def test_stray_words_and_doubled_options_are_usage_errors(scene_of):
    scene = scene_of("source")
    check_refused(run(*scene.argv(), "stray"), USAGE, "'stray' belongs to no option", "--help")
    check_refused(run(*scene.argv(), "--id", "b"), USAGE, "--id is given twice", None)


def test_unknown_verb_is_a_usage_error():
    check_refused(run("no-such-verb"), USAGE, "no-such-verb: unknown verb", "pageferry --help")
    assert run().returncode == USAGE


# ---- files, folders and sockets


def spoil_text(path, text):
    path.write_text(text)
    path.chmod(0o600)


def encrypt_key(scene):
    plain = scene.key().rename(scene.tls / "plain.pem")
    openssl(scene.tls, "pkcs8", "-topk8", "-in", plain, "-out", scene.key(), "-passout", "pass:x")
    scene.key().chmod(0o600)


def other_key(scene):
    kept = scene.cert().read_bytes()
    scene.pki.issue(scene.own)
    scene.cert().write_bytes(kept)


def foreign_ca(scene):
    other = Pki(scene.folder / "other")
    scene.pki.take(other, "ca-cert.pem")


def revoked(scene):
    scene.pki.revoke(scene.own)


def stale_list(scene):
    scene.pki.ca("-gencrl", "-crlsec", "1", "-out", "ca-crl.pem",
                 "-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200102000000Z")


def directory_for_file(path):
    path.unlink()
    path.mkdir()


def of_another(scene, side, name):
    """A state directory that an agent of this side has opened before, for the migration `name`."""
    scene.state.mkdir(0o700)
    (scene.state / "identity").write_text(f"{side} {name}\n")


def with_file(scene, name, text):
    of_another(scene, scene.side, "vm7")
    (scene.state / name).write_text(text)


def state_mode(scene, mode):
    scene.state.mkdir()
    scene.state.chmod(mode)


def small_state(scene, size):
    """A tmpfs of so many bytes."""
    if os.geteuid() != 0:
        pytest.skip(ROOT_MAY_MOUNT)
    scene.state.mkdir(0o700)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", scene.state],
        check=True, timeout=60,
    )
    scene.clean.append(lambda: subprocess.run(["umount", scene.state], check=True, timeout=60))


def full_state(scene):
    small_state(scene, 4096)
    (scene.state / "other").write_bytes(bytes(4096))


def somebody_listens(scene, name, kind):
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind(str(scene.options[name]))
    listener.listen()
    scene.clean.append(listener.close)


def somebody_has_the_port(scene):
    listener = socket.create_server(("127.0.0.1", 0))
    scene.options["listen"] = f"127.0.0.1:{listener.getsockname()[1]}"
    scene.clean.append(listener.close)


def lock_state(scene):
    """As another agent does that runs."""
    scene.state.mkdir(0o700)
    holder = subprocess.Popen(
        ["flock", scene.state / "lock", "sh", "-c", "echo locked; exec cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"locked\n"
    scene.clean.append(holder.communicate)


def fifo(scene):
    os.mkfifo(scene.folder / "fifo")
    scene.options["events"] = scene.folder / "fifo"


BOTH = ("source", "destination")


@dataclasses.dataclass
class Row:
    name: str
    spoil: object  # a Scene -> nothing
    code: int
    words: str
    hint: str
    sides: tuple = BOTH


ROWS = [
    Row("no_tls_dir", lambda s: shutil.rmtree(s.tls), CONFIG, "tls/ca-cert.pem: No such file",
        "--tls-dir needs ca-cert.pem"),
    Row("no_certificate", lambda s: s.cert().unlink(), CONFIG, "-cert.pem: No such file",
        "--tls-dir needs ca-cert.pem"),
    Row("no_key", lambda s: s.key().unlink(), CONFIG, "-key.pem: No such file",
        "--tls-dir needs ca-cert.pem"),
    Row("certificate_is_a_folder", lambda s: directory_for_file(s.cert()), CONFIG,
        "-cert.pem is not a regular file", "in PEM"),
    Row("certificate_is_no_pem", lambda s: spoil_text(s.cert(), "no certificate"), CONFIG,
        "-cert.pem holds no certificate in PEM", "BEGIN CERTIFICATE"),
    Row("authority_is_no_pem", lambda s: spoil_text(s.tls / "ca-cert.pem", ""), CONFIG,
        "ca-cert.pem holds no certificate in PEM", "BEGIN CERTIFICATE"),
    Row("list_is_no_pem", lambda s: spoil_text(s.tls / "ca-crl.pem", ""), CONFIG,
        "ca-crl.pem holds no revocation list in PEM", "BEGIN X509 CRL"),
    Row("key_is_no_pem", lambda s: spoil_text(s.key(), "no key"), CONFIG, "reading the key",
        "BEGIN PRIVATE KEY"),
    Row("key_readable_by_others", lambda s: s.key().chmod(0o640), CONFIG,
        "open to other users than its owner (mode 0640)", "chmod 600"),
    Row("key_is_encrypted", encrypt_key, CONFIG, "is encrypted", "store the key plain"),
    Row("key_of_another_certificate", other_key, CONFIG, "does not belong to the certificate",
        "made together"),
    Row("certificate_expired", lambda s: s.pki.expire(s.own), CONFIG, "it expired on",
        "replace it"),
    Row("certificate_not_yet_valid", lambda s: s.pki.postpone(s.own), CONFIG,
        "it is not valid before", "replace it"),
    Row("certificate_for_the_other_side", lambda s: s.pki.issue(
        s.own, usage="clientAuth" if s.side == "destination" else "serverAuth"), CONFIG,
        "is of no use", "replace it"),
    Row("certificate_of_another_authority", foreign_ca, CONFIG,
        "it is not signed by ca-cert.pem", "replace it"),
    Row("certificate_revoked", revoked, CONFIG, "it is revoked by ca-crl.pem", "replace it"),
    Row("list_out_of_date", stale_list, CONFIG, "ca-crl.pem does not cover it now", "replace"),
    Row("state_in_use", lock_state, CONFIG, "is in use by another process", "fuser(1)"),
    Row("state_of_another_migration", lambda s: of_another(s, s.side, "vm8"), CONFIG,
        "is that of '", "one directory for each side"),
    Row("state_of_the_other_side", lambda s: of_another(
        s, "source" if s.side == "destination" else "destination", "vm7"), CONFIG, "is that of '",
        "one directory for each side"),
    Row("record_is_damaged", lambda s: with_file(s, "record", "WALKED 3\n"), CONFIG,
        "record is damaged: 'WALKED 3'", "a fresh --state-dir"),
    Row("identity_is_damaged", lambda s: with_file(s, "identity", ""), CONFIG,
        "identity is damaged", "a fresh --state-dir"),
    Row("state_writable_by_others", lambda s: state_mode(s, 0o777), CONFIG,
        "can be written by others", "mode 0700"),
    Row("state_is_a_file", lambda s: s.state.write_text(""), CONFIG, "Not a directory",
        "give a folder"),
    Row("state_in_no_folder", lambda s: s.options.update({"state-dir": s.folder / "a/b"}), CONFIG,
        "No such file or directory", "those above must be there"),
    Row("state_is_full", full_state, CONFIG, "No space left on device", "full"),
    Row("control_socket_in_use", lambda s: somebody_listens(s, "control", socket.SOCK_STREAM),
        CONFIG, "another process answers on", "paths of its own"),
    Row("vmm_socket_in_use", lambda s: somebody_listens(s, "vmm-socket", socket.SOCK_SEQPACKET),
        CONFIG, "another process answers on", "paths of its own"),
    Row("control_is_no_socket", lambda s: s.options["control"].write_text("precious"), CONFIG,
        "exists and is not a socket", "another path"),
    Row("control_in_no_folder", lambda s: s.options.update({"control": s.folder / "a/b"}), CONFIG,
        "No such file or directory", "must be there"),
    Row("vmm_socket_in_no_folder", lambda s: s.options.update({"vmm-socket": s.folder / "a/b"}), CONFIG,
        "No such file or directory", "must be there"),
    Row("vmm_socket_in_a_file", lambda s: s.options.update({"vmm-socket": s.cert() / "b"}), CONFIG,
        "Not a directory", "must be there"),
    Row("control_is_a_socket_of_another_kind", lambda s: somebody_listens(s, "control", socket.SOCK_SEQPACKET),
        CONFIG, "a socket of another kind", "another path"),
    Row("vmm_socket_of_another_kind", lambda s: somebody_listens(s, "vmm-socket", socket.SOCK_STREAM),
        CONFIG, "a socket of another kind", "another path"),
    Row("one_path_for_both_sockets", lambda s: s.options.update({"control": s.options["vmm-socket"]}), USAGE,
        "--vmm-socket and --control are both", "a path of its own"),
    Row("port_in_use", somebody_has_the_port, CONFIG, "Address already in use",
        "choose another port", ("destination",)),
    Row("address_of_another_host", lambda s: s.options.update({"listen": "192.0.2.1:0"}), CONFIG,
        "Cannot assign requested address", "does not have that address", ("destination",)),
    Row("events_that_nobody_reads", fifo, CONFIG, "--events", "reader"),
    Row("events_in_no_folder", lambda s: s.options.update({"events": s.folder / "a/b"}), CONFIG,
        "--events", "folder"),
]
assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    "row, side",
    [pytest.param(row, side, id=f"{row.name}-{side}") for row in ROWS for side in row.sides],
)
def test_start_that_is_refused(scene_of, row, side):
    scene = scene_of(side)
    row.spoil(scene)
    check_refused(run(*scene.argv()), row.code, row.words, row.hint)
    for name in ("control", "vmm-socket"):
        path = scene.options[name]
        assert not path.exists() or name.split("-")[0] in row.name, "it should tidy up"


def test_what_is_not_ours_stays(scene_of):
    """A file in the place of a socket is not removed, nor a socket that somebody answers on."""
    scene = scene_of("source")
    scene.options["control"].write_text("precious")
    assert run(*scene.argv()).returncode == CONFIG
    assert scene.options["control"].read_text() == "precious"
    scene.options["control"] = scene.folder / "ctl2"
    somebody_listens(scene, "control", socket.SOCK_STREAM)
    assert run(*scene.argv()).returncode == CONFIG
    with socket.socket(socket.AF_UNIX) as still_there:
        still_there.connect(str(scene.options["control"]))


@pytest.mark.parametrize("side", BOTH)
def test_events_to_a_descriptor_that_cannot_be_written(scene_of, side):
    """It is named as it was given, though the agent has it under another number."""
    scene = scene_of(side)
    with open(scene.cert(), "rb") as readable:
        os.dup2(readable.fileno(), 77)
    try:
        scene.options["events"] = "fd:77"
        result = subprocess.run([program("PAGEFERRY"), *map(str, scene.argv())], capture_output=True, text=True,
                                timeout=60, check=False, pass_fds=(77,))
    finally:
        os.close(77)
    check_refused(result, CONFIG, "--events fd:77: no descriptor that can be written", "open for writing")
