"""What the Dockerfile puts together, without an engine: the stages as they are written, and the file system of the last one.

Knows the instructions that our Dockerfile has, and no others: one that it does not know is an error, not a guess.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

# gcr.io/distroless/cc-debian12: its libraries, and its glibc.
BASES = {"gcr.io/distroless/cc-debian12:nonroot": ((2, 36), {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"})}
PASSWD = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"


@dataclass
class Stage:
    base: str
    name: str = ""
    user: str = ""
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    exposed: list[int] = field(default_factory=list)
    stop_signal: str = ""
    # (stage it comes from, path there, path here)
    copies: list[tuple[str, str, str]] = field(default_factory=list)


def stages(dockerfile: Path) -> list[Stage]:
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)).splitlines()
    found: list[Stage] = []
    for line in filter(str.strip, lines):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name))
            continue
        stage = found[-1]
        match instruction:
            case "COPY":
                copied = re.fullmatch(r"(?:--from=(\S+) )?(\S+) (\S+)", rest)
                stage.copies.append((copied[1] or "", copied[2], copied[3]))
            case "USER":
                stage.user = rest
            case "ENTRYPOINT":
                stage.entrypoint = _words(rest)
            case "CMD":
                stage.command = _words(rest)
            case "EXPOSE":
                stage.exposed = [int(port) for port in rest.split()]
            case "STOPSIGNAL":
                stage.stop_signal = rest
            case "RUN" | "WORKDIR":
                pass
            case _:
                raise ValueError(f"{dockerfile}: image.py does not know {instruction}")
    return found


def _words(text: str) -> list[str]:
    # The form for a shell would need one in the image.
    if not re.fullmatch(r'\["[^"]*"(, "[^"]*")*\]', text):
        raise ValueError(f"not in the form without a shell: {text}")
    return re.findall(r'"([^"]*)"', text)


def needed(binary: Path) -> dict[str, Path]:
    """The shared libraries of a binary, and where this machine has them."""
    listed = subprocess.run(["ldd", binary], check=True, capture_output=True, text=True).stdout
    found = {}
    for line in listed.splitlines():
        if path := re.search(r"(/\S+) \(0x", line):
            found[Path(path[1]).name] = Path(path[1])
    return found


def newest_glibc(binary: Path) -> tuple[int, ...]:
    """The newest version of glibc that a binary asks for."""
    asked = re.findall(rb"GLIBC_(\d+)\.(\d+)", binary.read_bytes())
    return max((int(major), int(minor)) for major, minor in asked)


def assemble(stage: Stage, root: Path, artifact: Path):
    """The file system of the last stage: what its base has of libraries and names, and what is copied; `artifact` is what the
    builder would have built."""
    for folder in ("etc", "tmp", "proc", "tls", "etc/portunus"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    # As Kubernetes writes it into each pod.
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    for name, path in needed(artifact).items():
        if name not in BASES[stage.base][1]:
            raise ValueError(f"the binary needs {name}, which {stage.base} does not have")
        place = root / str(path).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(os.path.realpath(path), place)
        place.chmod(0o755)
    for _, _, path in stage.copies:
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(artifact, place)
        place.chmod(0o755)


def command(root: Path, user: str, words: list[str]) -> list[str]:
    """Runs it in that file system, which nobody can write to, as that user, without any capability."""
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec chroot --userspec="$1" --groups= "$0" "${@:2}"'
    return ["unshare", "--mount", "bash", "-c", script, str(root), user, *words]


def context(repository: Path) -> list[str]:
    """The files that a builder gets: what git knows, but for what .dockerignore names (folders and files at the top)."""
    ignored = {line for line in (repository / ".dockerignore").read_text().split("\n") if line and not line.startswith("#")}
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and name.split("/")[0] not in ignored]
