#compdef execlogd
# Completion for zsh. The program itself knows what can follow (execlogd complete).
local -a lines
lines=("${(@f)$("${words[1]}" complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
if [[ -z $lines ]]; then
	_files
	return
fi
lines=("${(@)lines//:/\\:}")
lines=("${(@)lines/$'\t'/:}")
_describe execlogd lines
