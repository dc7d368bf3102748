# Versions of the configs: Swarm never changes one, so a new content needs a new name.
export DEFAULT_CONF_VERSION=v1
