# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# lib.sh - what scripts/demo and scripts/check share: packages, configure, logs.
# Sourced with `set -euo pipefail` in force, $top set to the source tree and $logs to a directory.
: "${top:?}" "${logs:?}"

say() {
	printf '%s\n' "$*"
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# packages_missing PURPOSE...: the packages listed for these purposes that are not installed.
packages_missing() {
	local purpose package
	local -a wanted=()

	while read -r purpose package; do
		case " $* " in
		*" $purpose "*) wanted+=("$package") ;;
		esac
	done < <(grep -v '^#' "$top/scripts/packages")
	for package in "${wanted[@]}"; do
		[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
			say "$package"
	done
}

# install_missing PURPOSE...: ends the script if something is missing and cannot be installed.
install_missing() {
	local -a missing

	command -v dpkg-query >/dev/null || {
		say "no dpkg here: taking the packages of scripts/packages for installed" >&2
		return 0
	}
	mapfile -t missing < <(packages_missing "$@")
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" -ne 0 ]; then
		say "missing packages; as root, run:" >&2
		say "    apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
		exit 1
	fi
	say "installing: ${missing[*]}"
	run_logged "apt-get update" 300 "$logs/apt-update.log" apt-get update ||
		die "apt-get update failed; nothing was installed"
	run_logged "apt-get install" 1200 "$logs/apt-install.log" env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y --no-install-recommends "${missing[@]}" ||
		die "apt-get install failed"
	say "installed: ${missing[*]}"
}

show_failure() {
	local what=$1 limit=$2 log=$3 status=$4

	if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
		say "FAIL  $what: stopped after $limit s; the end of $log:"
	else
		say "FAIL  $what: status $status; the end of $log:"
	fi
	# A parallel make goes on for a while after its first error.
	{
		grep -nE 'error[: ]|Error [0-9]|No rule|undefined reference|Sanitizer' "$log" | head -n 12 || true
		say ...
		tail -n 25 "$log"
	} | sed 's/^/      | /'
}

# run_logged WHAT SECONDS LOG COMMAND...: quiet if it succeeds, the log's tail if it does not.
run_logged() {
	local what=$1 limit=$2 log=$3 status=0 began=$SECONDS
	shift 3

	timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1 </dev/null || status=$?
	if [ "$status" -eq 0 ]; then
		say "ok    $what ($((SECONDS - began)) s)"
		return 0
	fi
	# In one piece: another step may be at its end too.
	say "$(show_failure "$what" "$limit" "$log" "$status")"
	return "$status"
}

# autogen: ./configure, where it is missing or older than what it is made from.
autogen() {
	if [ -x "$top/configure" ] && [ "$top/configure" -nt "$top/configure.ac" ] &&
		[ -e "$top/Makefile.in" ]; then
		return 0
	fi
	run_logged "autogen.sh" 300 "$logs/autogen.log" "$top/autogen.sh"
}

# copy_sources DIR: what is not built, as it is now, with its times, so that what did not change is not built again.
copy_sources() {
	local name around=${1%/*}
	local -a names=()

	around=${around#"$top/"}
	while IFS= read -r -d '' name; do
		[[ ! -e $top/$name || $name == "$around"/* ]] || names+=("$name")
	done < <(git -C "$top" ls-files -z --cached --others --exclude-standard)
	[ ${#names[@]} -gt 0 ] || return 1
	rm -rf "$1"
	mkdir -p "$1"
	printf '%s\0' "${names[@]}" | tar -C "$top" --format=posix -c --null -T - | tar -C "$1" -x
}
