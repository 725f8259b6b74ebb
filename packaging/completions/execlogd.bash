# Completion for bash. The program itself knows what can follow (execlogd complete).
_execlogd() {
	mapfile -t COMPREPLY < <("$1" complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f 1)
}
complete -o default -F _execlogd execlogd
