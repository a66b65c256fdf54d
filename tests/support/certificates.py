"""A certificate for loopback that signs itself, made by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM; the certificate is its own authority."""

    certfile: Path
    keyfile: Path


def make_certificate(folder: Path, name: str = "server", pass_phrase: str = "") -> Certificate:
    """For 127.0.0.1 and localhost, good for a day."""
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", str(made.keyfile)]
    phrase = ["-passout", f"pass:{pass_phrase}"] if pass_phrase else ["-noenc"]
    command = ["openssl", "req", "-x509", "-days", "1", *key, *phrase, *subject, "-out", str(made.certfile)]
    subprocess.run(command, check=True, capture_output=True)
    return made
