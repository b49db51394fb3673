# What procd is told goes to /tmp/procd, a line a call.

_tell() {
	local tell_line= tell_word
	for tell_word in "$@"; do
		tell_line="$tell_line${tell_line:+	}$tell_word"
	done
	echo "$tell_line" >> /tmp/procd
}

procd_open_instance() { _tell instance "$@"; }
procd_close_instance() { _tell end; }
procd_set_param() { _tell "$@"; }
procd_append_param() { _tell "more $1" "$2"; }
procd_add_jail() { _tell jail "$@"; }
procd_add_jail_mount() { _tell mount "$@"; }
procd_add_jail_mount_rw() { _tell "mount rw" "$@"; }
procd_add_reload_trigger() { _tell "trigger config" "$@"; }
procd_add_raw_trigger() { _tell "trigger raw" "$@"; }
procd_add_restart_mount_trigger() { _tell "trigger mount" "$@"; }
procd_send_signal() { _tell signal "$@"; }
procd_kill() { _tell kill "$@"; }
