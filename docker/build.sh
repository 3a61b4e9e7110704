#!/usr/bin/env bash
# Builds the relay's image from a static binary made by this host's cargo. Nothing is pulled: with a docker engine the
# image goes there, without one buildah makes it (root, Debian's package buildah), which needs no engine at all.
set -euo pipefail

usage() {
  cat <<'USAGE'
docker/build.sh [options]: build the x0-relay image from scratch, without pulling anything

  --tag NAME       the image's name (default x0-relay:latest)
  --engine NAME    docker or buildah (default: docker if its engine answers, else buildah)
  --archive FILE   also write the image to FILE, for `docker load -i FILE`
  --profile NAME   cargo profile (default release)
  --binary FILE    take this static binary instead of building one
  --help           this text
USAGE
}

die() { # MESSAGE [EXIT CODE]
  printf 'build.sh: %s\n' "$1" >&2
  exit "${2:-1}"
}

tag=x0-relay:latest engine='' archive='' profile=release binary=''
while (($#)); do
  case $1 in
    --help) usage; exit 0 ;;
    --tag | --engine | --archive | --profile | --binary)
      (($# >= 2)) || die "$1 needs a value; see --help" 2
      declare "${1#--}=$2"
      shift 2 ;;
    *) die "unknown option $1; see --help" 2 ;;
  esac
done
[[ $tag == *:* ]] || tag+=:latest

# Paths on the command line are the caller's; everything else is relative to the checkout.
[[ -z $archive ]] || archive=$(realpath -m -- "$archive")
[[ -z $binary ]] || binary=$(realpath -- "$binary")
cd "$(dirname "$0")/.."

[[ $engine == @(|docker|buildah) ]] || die "unknown engine $engine; docker or buildah" 2
if [[ -z $engine ]]; then
  if docker info >/dev/null 2>&1; then engine=docker
  elif command -v buildah >/dev/null; then engine=buildah
  else die 'no docker engine answers and there is no buildah; install one (Debian: apt-get install buildah)'
  fi
fi

build_binary() {
  local target messages
  target=$(rustc -vV | sed -n 's/^host: //p')
  [[ $target == *-linux-gnu ]] || die "the host is $target; a static binary is built for *-linux-gnu (or use --binary)"
  # cargo says itself where the file is: profile names and directory names differ, and CARGO_TARGET_DIR may be set.
  messages=$(RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --profile "$profile" --bin x0-relay \
    --target "$target" --message-format json-render-diagnostics)
  binary=$(sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' <<<"$messages" | tail -n 1)
  [[ -f $binary ]] || die 'cargo built no x0-relay'
}

# The size goes to stdout, the builders' own words to stderr.
with_docker() {
  docker build --tag "$tag" --file docker/Containerfile "$context" >&2
  [[ -z $archive ]] || docker save --output "$archive" "$tag"
  size=$(docker images --format '{{.Size}}' "$tag")
}

with_buildah() {
  local buildah=(buildah --storage-driver vfs) id
  # Docker's format: the other one has no place for HEALTHCHECK.
  "${buildah[@]}" bud --isolation chroot --format docker --tag "$tag" --iidfile "$scratch/id" \
    --file docker/Containerfile "$context" >&2
  id=$(<"$scratch/id")
  if [[ -n $archive ]]; then
    rm -f -- "$archive" # buildah doesn't overwrite one
    "${buildah[@]}" push --quiet "$id" "docker-archive:$archive:$tag" >&2
  fi
  size=$("${buildah[@]}" images --format '{{.Size}}' "$tag")
}

[[ -n $binary ]] || build_binary
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
context=$scratch/context
mkdir -p "$context/empty"
install -m 0755 -- "$binary" "$context/x0-relay"
chmod 0755 "$context/empty"

size=''
case $engine in
  docker) with_docker ;;
  buildah) with_buildah ;;
esac
echo "image $tag: $size"
if [[ -n $archive ]]; then echo "archive $archive (load it with: docker load -i $archive)"; fi
