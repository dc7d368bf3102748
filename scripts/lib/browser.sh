#!/usr/bin/env bash
# What recipe scripts and the picture of the front page need: bubblewrap, Chromium and its WebDriver.
#
#   browser.sh       or source it and call browser_up
# shellcheck source-path=SCRIPTDIR source=common.sh
source "${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}common.sh"

# browser_up: installs what is missing.
browser_up() {
  have bwrap || apt_install 'scripts and the browser run in it' bubblewrap
  have chromedriver && { have chromium || have google-chrome; } && return
  apt_install 'pages are looked at with it' chromium chromium-driver fonts-dejavu-core
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then browser_up; fi
