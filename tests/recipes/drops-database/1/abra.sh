# No configs, so no versions.
