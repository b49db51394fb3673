# UCI: config_load reads /etc/config/NAME, whose lines are words of a shell as they stand.

config_load() {
	uci_section=
	[ ! -f "/etc/config/$1" ] || . "/etc/config/$1"
}

config() {
	uci_section=$2
}

option() {
	eval "uci_${uci_section}_$1=\$2"
}

list() {
	local uci_at
	eval "uci_at=\$((uci_count_${uci_section}_$1 + 1))"
	eval "uci_count_${uci_section}_$1=$uci_at"
	eval "uci_item_${uci_section}_$1_$uci_at=\$2"
	eval "uci_${uci_section}_$1=\"\${uci_${uci_section}_$1:+\$uci_${uci_section}_$1 }\$2\""
}

config_get() { # variable, section, option, default
	eval "$1=\"\${uci_$2_$3:-\$4}\""
}

config_get_bool() {
	config_get "$1" "$2" "$3" "$4"
	eval "case \"\$$1\" in 1|on|true|yes|enabled) $1=1 ;; *) $1=0 ;; esac"
}

config_list_foreach() { # section, list, function, what it gets besides
	local uci_of="$1_$2" uci_call="$3" uci_at=1 uci_all uci_value
	shift 3
	eval "uci_all=\${uci_count_$uci_of:-0}"
	while [ "$uci_at" -le "$uci_all" ]; do
		eval "uci_value=\$uci_item_${uci_of}_$uci_at"
		"$uci_call" "$uci_value" "$@"
		uci_at=$((uci_at + 1))
	done
}

# Packages: what their postinst and prerm call.

_package() { # $pkgname, or the script's name without its end
	[ -n "$pkgname" ] || pkgname=$(basename "${1%.*}")
	their_list=/lib/apk/packages/$pkgname.list
	[ -f "$their_list" ] || their_list=/usr/lib/opkg/info/$pkgname.list
	their_control=/usr/lib/opkg/info/$pkgname.control
}

_theirs() { # the package's files below a folder; some opkgs write more than the path
	sed -n "s,^\\($1[^	 ]*\\).*,\\1,p" "$their_list"
}

add_group_and_user() {
	local users one name id
	_package "$1"
	users=$(cat "/lib/apk/packages/$pkgname.rusers" 2> /dev/null)
	[ -n "$users" ] || users=$(sed -n 's/^Require-User: *//p' "$their_control" 2> /dev/null)
	for one in $users; do # name=id:group=id
		one=${one%%:*}
		name=${one%=*} id=${one#*=}
		grep -q "^$name:" /etc/passwd && continue
		echo "$name:x:$id:" >> /etc/group
		echo "$name:x:$id:$id:$name:/var/run/$name:/bin/false" >> /etc/passwd
	done
}

default_postinst() {
	local path
	add_group_and_user "$1"
	for path in $(_theirs /etc/uci-defaults/); do
		(. "$path") && rm -f "$path"
	done
	for path in $(_theirs /etc/init.d/); do
		[ "$PKG_UPGRADE" = 1 ] || "$path" enable
		"$path" start
	done
}

default_prerm() {
	local path
	_package "$1"
	[ ! -f "${their_list%.list}.prerm-pkg" ] || (. "${their_list%.list}.prerm-pkg")
	for path in $(_theirs /etc/init.d/); do
		[ "$PKG_UPGRADE" = 1 ] || "$path" disable
		"$path" stop
	done
}
