# shellcheck shell=bash disable=SC2034,SC2154
# A small world in one directory, for the demo and the bench: configuration, certificates, and a forge with people, a recipe
# and what they do there. Sourced after common.sh; needs the program in $cc_ci, and curl, git and jq.

member=alice stranger=mallory bot=cc-ci-bot recipe=custom-html
# The pull request that is spoken of, and what was started.
number=0 pids=()

# world_setup DIR: sets dir, config, forge, web, domain, proxy.
world_setup() {
  dir=$1
  mkdir -p "$dir"
  "$cc_ci" dev setup "$dir" >"$dir/world.json"
  config=$dir/config.yaml
  forge=$(jq -r .forge "$dir/world.json") web=$(jq -r .web "$dir/world.json") domain=$(jq -r .domain "$dir/world.json")
  proxy=$(jq -r .proxy "$dir/world.json")
}

# world_forge: the forge runs, with its people and an empty repository.
world_forge() {
  local login pid
  "$cc_ci" dev forge --listen "${forge#http://}" --dir "$dir/forge" >"$dir/forge.txt" 2>&1 &
  pid=$!
  pids+=("$pid")
  until curl -fs -o /dev/null "$forge/_dev/switches"; do kill -0 "$pid" || die "$(cat "$dir/forge.txt")"; done
  dev POST users "{\"login\":\"$bot\",\"token\":\"$(cat "$dir/token")\"}" >/dev/null
  for login in $member $stranger; do dev POST users "{\"login\":\"$login\"}" >"$dir/$login.json"; done
  dev POST orgs "{\"name\":\"recipes\",\"members\":[\"$bot\",\"$member\"]}" >/dev/null
  dev POST repos "{\"owner\":\"recipes\",\"name\":\"$recipe\"}" >/dev/null
}

# world_recipe: the recipe as a git repository in $dir/clone, and pushed: its versions, and the branch of a pull request.
world_recipe() {
  "$cc_ci" dev recipe "$rig_lib/../../tests/recipes/$recipe" "$dir/clone" >/dev/null
  push main --tags
  push change
}

# world_pull BRANCH TITLE prints the number of a new pull request.
world_pull() {
  dev POST "repos/recipes/$recipe/pulls" \
    "{\"title\":\"$2\",\"author\":\"$member\",\"head\":\"$1\",\"base\":\"main\"}" | jq .number
}

# world_start PART: cc-ci itself, or a half of it; its process id is the last of $pids.
world_start() {
  "$cc_ci" "$1" --config "$config" >"$dir/$1.txt" 2>&1 </dev/null &
  pids+=($!)
}

# world_page PATH: until that page answers well.
world_page() {
  local deadline=$((SECONDS + 60))
  until curl -fs -o /dev/null "$web$1"; do
    ((SECONDS < deadline)) || { curl -s "$web$1" >&2 || true; tail -n 20 "$dir"/*.txt >&2; die 'cc-ci did not become ready'; }
    read -rt 0.1 <> <(:) || true
  done
}

# world_stop [PID…]: ends these, or all that was started, by their ids, and waits for them.
world_stop() {
  local pid keep=()
  (($#)) || set -- "${pids[@]}"
  for pid; do kill "$pid" 2>/dev/null || true; done
  for pid; do wait "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do [[ " $* " == *" $pid "* ]] || keep+=("$pid"); done
  pids=("${keep[@]}")
}

dev() { curl -fsS -X "$1" -H 'Content-Type: application/json' ${3:+-d "$3"} "$forge/_dev/$2"; }

# The token goes by the environment, not by the command line.
push() {
  GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=http.extraHeader \
    GIT_CONFIG_VALUE_0="Authorization: token $(jq -r .token "$dir/$member.json")" \
    git -C "$dir/clone" push --quiet "$forge/recipes/$recipe.git" "$@"
}

# say_as LOGIN TEXT, on pull request $number; prints the comment's id.
say_as() {
  dev POST "repos/recipes/$recipe/issues/$number/comments" "{\"author\":\"$1\",\"body\":\"$2\"}" | jq .id
}

# wait_on WHAT [MILLISECONDS]: until it is so on the forge.
wait_on() { curl -fsS "$forge/_dev/wait?repo=recipes/$recipe&pr=$number&timeout_ms=${2:-240000}&for=$1"; }

milliseconds() { echo $((${EPOCHREALTIME/./} / 1000)); }

# Everything on the Swarm, counted by Docker and not by our database; of this world, where there is one.
objects() {
  local kind
  {
    # Before the first `reconcile swarm` there is none that could have any.
    if [[ $(docker info --format '{{.Swarm.ControlAvailable}}') == true ]]; then
      for kind in service secret config; do docker "$kind" ls --format "$kind {{.Name}}"; done
    fi
    docker ps -a --format 'container {{.Names}}'
    docker volume ls --format 'volume {{.Name}}'
    docker network ls --format 'network {{.Name}}'
  } | { if [[ ${domain-} ]]; then grep -F "_${domain//./_}" || true; else cat; fi; } | sort
}
