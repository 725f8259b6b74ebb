# process.sh FILE...   works on uploads, also in directories of inbox/
#
# A name may be anything. A file leaves inbox/ when all is done, and not before: if
# this is killed half way it is done again, to the same end.
set -u
inbox=$PWD/inbox

# work FILE NAME has the file for itself.
work() {
	mkdir -p "done${2%/*}" "failed${2%/*}" || return
	draft=done${2%/*}/.$$
	sh total.sh "$1" >"$draft" 2>"$draft.log"
	status=$?
	if [ $status -eq 0 ]; then
		rm "$draft.log" && mv "$draft" "done$2.total" && mv "$1" "done$2"
		return
	fi
	cat "$draft.log"
	if [ $status -eq 75 ]; then
		rm "$draft" "$draft.log" # it stays, and is tried again
		return $status
	fi
	rm "$draft" && mv "$draft.log" "failed$2.log" && mv "$1" "failed$2"
	return $status
}

status=0
for file; do
	if [ -f "$file" ]; then
		# Whoever comes second finds that it is gone, or another.
		{ flock 9 && { [ ! "$file" -ef /dev/fd/9 ] || work "$file" "${file#"$inbox"}"; }; } 9<"$file"
	fi || status=1
done
exit $status
