import json

TOKEN = "0123456789abcdef0123456789abcdef01234567"
COMPOSE = """
version: "3.8"
services:
  app:
    image: page:test
    networks: [proxy]
    healthcheck: {test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1/"], interval: 1s, START}
    deploy:
      labels:
        - "traefik.enable=true"
        - "traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80"
        - "traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`)"
        - "traefik.http.routers.${STACK_NAME}.entrypoints=web-secure"
        - "coop-cloud.${STACK_NAME}.version=1.0.0+1"
networks:
  proxy: {external: true}
"""


def dev(method, path, body=None):
    data = f"-H 'Content-Type: application/json' -d {json.dumps(json.dumps(body))}" if body is not None else ""
    return machine.succeed(f"curl -fsS -X {method} {data.replace('`', chr(92) + '`').replace('$', chr(92) + '$')} http://127.0.0.1:3000/_dev/{path}")


def world(start="retries: 30"):
    """An organisation with a member, a recipe, and a pull request that changes its words."""
    machine.wait_for_unit("test-forge.service")
    machine.wait_for_open_port(3000)
    dev("POST", "users", {"login": "cc-ci-bot", "token": TOKEN})
    dev("POST", "users", {"login": "alice"})
    dev("POST", "orgs", {"name": "recipes", "members": ["cc-ci-bot", "alice"]})
    dev("POST", "repos", {"owner": "recipes", "name": "page"})
    env = "TYPE=page\nDOMAIN=page.example.com\nLETS_ENCRYPT_ENV=\n"
    files = {"compose.yml": COMPOSE.replace("START", start), ".env.sample": env, "README.md": "A page\n"}
    dev("POST", "repos/recipes/page/commits", {"files": files, "tags": ["1.0.0+1"]})
    dev("POST", "repos/recipes/page/commits", {"branch": "change", "files": {"README.md": "A better page\n"}})
    dev("POST", "repos/recipes/page/pulls", {"title": "Better", "author": "alice", "head": "change"})


def ask():
    dev("POST", "repos/recipes/page/issues/1/comments", {"author": "alice", "body": "!testme"})


def hears(words, seconds=180):
    dev("GET", f"'wait?for=comment&repo=recipes/page&pr=1&contains={words}&timeout_ms={seconds * 1000}'")
