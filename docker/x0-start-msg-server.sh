#!/usr/bin/env bash
# Starts the relay in the place of x0's message server: the same container name, network, address and port, so that
# nothing else changes. Going back is running x0's own script of this name, which removes this container again.
#
# Between stop and run the port refuses connections, and a page that polls in that moment stops until it is reloaded;
# docs/operations.md, "Restart without a refused connection", has the ways around that.
#
#   IMAGE=x0-relay:1 docker/x0-start-msg-server.sh     takes another image
#   docker/x0-start-msg-server.sh --env X0_RELAY_WAIT=20s   passes options on to `docker run`
set -euo pipefail

image=${IMAGE:-x0-relay:latest}
name=x0-msg-server
network=x0-connect
# Longer than drain-notice and drain-timeout together (0 s and 8 s unless set): what is over when it ends is killed.
stop_timeout=20

# First what can fail, so that a wrong image name does not cost the server that is running.
docker image inspect "$image" >/dev/null || {
  echo "no image $image here; build it with docker/build.sh, or load it with docker load -i FILE" >&2
  exit 1
}
docker network inspect "$network" >/dev/null 2>&1 || docker network create --subnet 172.20.0.0/24 "$network" >/dev/null

if docker container inspect "$name" >/dev/null 2>&1; then
  docker stop --time "$stop_timeout" "$name" >/dev/null
  docker rm "$name" >/dev/null
fi

# One volume holds the control socket, for x0's own front or a gateway in another container; the other the messages.
docker run -d \
  --name "$name" --hostname "$name" \
  --network "$network" --ip 172.20.0.100 --network-alias x0-msg-server.x0.localnet \
  --publish 8080:8080 \
  --volume x0-msg-server:/var/lib/msgserver --volume x0-relay-data:/var/lib/x0-relay \
  --stop-timeout "$stop_timeout" --restart unless-stopped \
  --ulimit nofile=65536:65536 \
  --read-only --cap-drop ALL --security-opt no-new-privileges \
  "$@" "$image" >/dev/null

# Docker has no command that waits for a health check.
for _ in {1..50}; do
  if docker exec "$name" /x0-relay health >/dev/null 2>&1; then
    echo "$name serves http://172.20.0.100:8080 ($image)"
    exit 0
  fi
  sleep 0.2
done
docker logs --tail 20 "$name" >&2
echo "$name does not answer; its last lines are above" >&2
exit 1
