"""The container image and the manifest for Kubernetes: linted by other people's tools, and the image's contents run without an engine.

`run.py`. hadolint and kubernetes-validate (with Kubernetes' own schemas) judge the files. What the Dockerfile puts into the image is
put together here, and runs in a file system that nobody can write to, as the user of the image, with the configuration of the
manifest: the probes answer, a call passes, and SIGTERM ends it with 0. Needs root, for the mount.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness
import image

REPOSITORY = harness.HERE.parent.parent
MANIFEST = REPOSITORY / "deploy/kubernetes.yaml"
DOCKERFILE = REPOSITORY / "Dockerfile"
# Beyond what preStop and the drain take, for the kubelet.
SLACK = 5
DRAIN = 30


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    if os.geteuid() != 0:
        raise harness.Missing("root", "run this suite as root: it mounts a file system that nobody can write to")
    tally = harness.Tally("container")
    with harness.workshop(tally) as folder:
        linted(tally)
        stage = the_image(tally)
        documents = manifest()
        agrees(tally, stage, documents)
        builder_has_all(tally, folder)
        runs(tally, folder, stage, documents)
    return tally.close()


def linted(tally: harness.Tally):
    for tool, options, file in (("hadolint", [], DOCKERFILE), ("kubernetes-validate", ["--strict"], MANIFEST)):
        ran = subprocess.run([harness.installed(f"container/bin/{tool}"), *options, file], capture_output=True, text=True)
        tally.check(f"{tool} has nothing to say of {file.name}", ran.returncode == 0, ran.stdout + ran.stderr)


def the_image(tally: harness.Tally) -> image.Stage:
    build, stage = image.stages(DOCKERFILE)
    toolchain = re.search(r'channel = "(.+)"', (REPOSITORY / "rust-toolchain.toml").read_text())[1]
    tally.check("the builder's compiler is the repository's", build.base == f"rust:{toolchain}-bookworm", build.base)
    tally.check("the base has no shell and no root", stage.base in image.BASES, stage.base)
    tally.check("what is copied was built", all(source == build.name for source, _, _ in stage.copies), str(stage.copies))
    binary = Path(harness.binary("PORTUNUS", "portunus"))
    glibc, newest = image.BASES[stage.base][0], image.newest_glibc(binary)
    tally.check("the base's glibc is new enough", newest <= glibc, f"asked: {newest}, there: {glibc}")
    tally.check("it is not root", stage.user == "65532:65532", stage.user)
    tally.check("it ends by the signal that drains", stage.stop_signal == "SIGTERM", stage.stop_signal)
    return stage


def manifest() -> list[dict]:
    # The environment that has kubernetes-validate has a reader of YAML; this one need not.
    script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))"
    read = subprocess.run([harness.installed("container/bin/python"), "-c", script, MANIFEST], check=True, capture_output=True)
    return json.loads(read.stdout)


def of_kind(documents: list[dict], kind: str) -> dict:
    return next(document for document in documents if document["kind"] == kind)


def agrees(tally: harness.Tally, stage: image.Stage, documents: list[dict]):
    """The manifest with itself, and with the image."""
    config = of_kind(documents, "ConfigMap")["data"]["portunus.yaml"]
    pod = of_kind(documents, "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    tally.check("the image's ports are the manifest's", sorted(ports.values()) == sorted(stage.exposed), f"{ports} {stage.exposed}")
    tally.check("the listener has the port", f"0.0.0.0:{ports['grpc']}" in config)
    tally.check("the probes have theirs", f"public: 0.0.0.0:{ports['health']}" in config)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        tally.check(f"{probe} asks that port", container[probe]["httpGet"]["port"] == "health")
    takes = container["lifecycle"]["preStop"]["sleep"]["seconds"] + DRAIN + SLACK
    grace = pod["terminationGracePeriodSeconds"]
    tally.check("no SIGKILL before the drain is over", grace >= takes, f"{grace} s, needed {takes} s")
    secure = pod["securityContext"] | container["securityContext"]
    user = f"{secure['runAsUser']}:{secure['runAsGroup']}"
    tally.check("it runs as the image's user", secure["runAsNonRoot"] and user == stage.user, user)
    hardened = secure["readOnlyRootFilesystem"] and not secure["allowPrivilegeEscalation"] and secure["capabilities"]["drop"] == ["ALL"]
    tally.check("it can write nothing and become nobody else", hardened)
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    tally.check("the configuration is where the image looks", Path(stage.command[-1]).parent.as_posix() in mounts, str(mounts))
    tally.check("its files can change", all("subPath" not in mount for mount in container["volumeMounts"]))
    service = of_kind(documents, "Service")["spec"]
    labels = of_kind(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]
    tally.check("the Service finds the pods", service["selector"].items() <= labels.items())
    tally.check("and their port", service["ports"][0]["targetPort"] in ports)


def builder_has_all(tally: harness.Tally, folder: Path):
    """What .dockerignore leaves is a workspace."""
    place = folder / "context"
    for name in image.context(REPOSITORY):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, place / name)
    cargo = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]
    ran = subprocess.run(cargo, cwd=place, capture_output=True, text=True)
    built = ran.returncode == 0 and "portunus" in {package["name"] for package in json.loads(ran.stdout)["packages"]}
    tally.check("the builder gets all of the workspace", built, ran.stderr)


def runs(tally: harness.Tally, folder: Path, stage: image.Stage, documents: list[dict]):
    root = folder / "root"
    root.mkdir(mode=0o755)
    folder.chmod(0o755)
    image.assemble(stage, root, Path(harness.binary("PORTUNUS", "portunus")))
    certificate(root / "tls")
    with harness.echo_backend(folder) as server:
        ports = {"8443": harness.free_port(), "9902": harness.free_port(), "9901": harness.free_port(), "50051": server}
        config = of_kind(documents, "ConfigMap")["data"]["portunus.yaml"]
        # The same, on ports that are free, to a server that is here.
        for port, free in ports.items():
            config = replaced(config, rf"(?<=\d:){port}\b|(?<=port: ){port}\b", str(free))
        config = replaced(config, "name: agents", "name: localhost")
        config = replaced(config, r"bindu\.grpc\.AgentHandler", "portunus.test.Echo")
        (root / stage.command[-1].lstrip("/")).write_text(config)
        words = image.command(root, stage.user, [*stage.entrypoint, *stage.command])
        with harness.Child("portunus", words, folder) as proxy:
            proxy.wait_port(ports["8443"])
            public = f"http://127.0.0.1:{ports['9902']}"
            for path in ("/live", "/ready", "/metrics"):
                status = status_of(public + path)
                tally.check(f"{path} answers a probe", status == 200, f"{status}")
            tally.check("what is not for everybody is not there", status_of(f"{public}/config") == 404)
            who = Path(f"/proc/{proxy.process.pid}/status").read_text()
            tally.check("it is not root", "Uid:\t65532\t65532\t65532\t65532" in who, who)
            tally.check("it has no capability", re.search(r"CapEff:\t0+$", who, re.MULTILINE) is not None, who)
            answer = call(root, ports["8443"])
            tally.check("a call passes", answer.returncode == 0, answer.stdout + answer.stderr)
            proxy.process.send_signal(signal.SIGTERM)
            code = proxy.process.wait(harness.PATIENCE)
            tally.check("SIGTERM ends it with 0", code == 0, f"{code}\n{proxy.output()[-2000:]}")


def replaced(text: str, pattern: str, by: str) -> str:
    changed, times = re.subn(pattern, by, text, flags=re.MULTILINE)
    if times != 1:
        raise ValueError(f"{pattern} is in the manifest's configuration {times} times, and once was expected")
    return changed


def certificate(folder: Path):
    """As the Secret has it: the group of the image's user may read it."""
    names = {"key": folder / "tls.key", "certificate": folder / "tls.crt"}
    request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    made = ["-addext", "subjectAltName=DNS:localhost", "-keyout", names["key"], "-out", names["certificate"]]
    subprocess.run([harness.packaged("openssl", "openssl"), *request, *made], check=True, capture_output=True)
    for path in names.values():
        os.chown(path, 0, 65532)
        path.chmod(0o440)


def call(root: Path, port: int) -> subprocess.CompletedProcess:
    grpcurl = [harness.installed("bin/grpcurl"), "-cacert", root / "tls/tls.crt", "-import-path", REPOSITORY / "proto/protos"]
    return subprocess.run(
        [*grpcurl, "-proto", "portunus/test/echo.proto", "-max-time", "10", "-d", "{}", f"localhost:{port}", "portunus.test.Echo/Unary"],
        capture_output=True,
        text=True,
    )


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=harness.PATIENCE) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


if __name__ == "__main__":
    sys.exit(main())
