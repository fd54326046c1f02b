# shellcheck shell=bash
# Sourced by test/run.sh, deploy/demo.sh and deploy/queue-demo.sh: have the packages that test/packages names.

# need_packages FILE PURPOSE...: install what is missing of those purposes; as a user who may not,
# say what is missing and return 1.
need_packages() {
    local list=$1 package purpose wanted missing=()
    shift
    while read -r package purpose; do
        for wanted in "$@"; do
            [ "$purpose" = "$wanted" ] || continue
            [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
                missing+=("$package")
        done
    done < <(sed 's/#.*//' "$list")
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "These packages are missing; as root: apt-get install ${missing[*]}" >&2
        return 1
    fi
    echo "Installing: ${missing[*]}"
    apt-get -qq update &&
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install \
            "${missing[@]}" >/dev/null
}
