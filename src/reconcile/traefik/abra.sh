# Versions are hashes of the contents: Swarm never changes a config, so a new content needs a new name.
export STATIC_VERSION=v@STATIC@
export DYNAMIC_VERSION=v@DYNAMIC@
